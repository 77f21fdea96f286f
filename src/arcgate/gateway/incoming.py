"""Incoming connections: machines wait here, operators with a grant ask for them, and both are joined by a tunnel.

Both sides of a machine meet in one worker of the node, its home (`core.incoming.home_of`), whichever worker has
accepted them: the others pass them on by a link. There is one home, so nobody has to know who waits where.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from arcgate.core.errors import HopError
from arcgate.core.incoming import home_of
from arcgate.core.names import Target
from arcgate.core.policy import Admission, Identity, Policy
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.grants import GrantDesk, Wish
from arcgate.gateway.identity import Certificate
from arcgate.gateway.outbound import Refused
from arcgate.gateway.tunnelling import Tunnelling, answer
from arcgate.gateway.tunnels import Tunnel
from arcgate.gateway.waiting import WaitingMachine, WaitingMachines
from arcgate.net.listener import Listener
from arcgate.net.local_sockets import listen_locally
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.streams import ByteStream, SocketStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.net.worker_links import LinkStream, accept_link, open_link
from arcgate.wire.connect import format_established, format_refusal
from arcgate.wire.incoming import OpenRequest

LOOPBACK = IPv4Address("127.0.0.1")
"""Where incoming connections go on their machine, for the audit."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waiter:
    """A machine that waits, as its certificate or its proof has shown."""

    machine_id: str
    tenant_id: str
    serial: str
    not_after: str
    gateway_prefix: str
    by_signed_channel: bool
    peer: str

    @property
    def certificate(self) -> Certificate:
        """Who the machine is."""
        identity = Identity(self.machine_id, self.tenant_id, self.serial)
        return Certificate(identity, datetime.fromisoformat(self.not_after))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who wants to connect to a machine, with the grant that they show."""

    machine_id: str
    port: int
    grant: str
    gateway_prefix: str
    correlation_id: str
    peer: str


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker of how many this is, and the folder of their links."""

    number: int
    workers: int
    folder: Path

    def path_of(self, number: int) -> Path:
        """Return where a worker listens."""
        return self.folder / f"worker-{number}.sock"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: between pings of a waiting machine, for a machine to take a connection, and without a byte."""

    keep_alive: float = 30
    wait: float = 10
    idle: float = 3600


class IncomingConnections:
    """Serves both sides. `policy` returns the one in force."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        tunnelling: Tunnelling,
        grants: GrantDesk,
        place: Place,
        patience: Patience,
        clock: Callable[[], datetime],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._tunnelling = tunnelling
        self._grants = grants
        self._place = place
        self._patience = patience
        self._links: Listener | None = None
        self.machines = WaitingMachines()

    def start(self) -> None:
        """Listen for the other workers, if there are any; raises StateError."""
        if self._place.workers > 1:
            own = listen_locally(self._place.path_of(self._place.number))
            self._links = Listener([own], self._serve_link)
            self._links.start()

    def let_go(self) -> None:
        """Let the machines go that wait; they wait elsewhere then."""
        self.machines.dismiss_all()

    async def stop(self, drain_timeout: float) -> None:
        """Take no more links; connections on those that there are get `drain_timeout` seconds to end."""
        if self._links is not None:
            await self._links.stop(drain_timeout)

    def refusal_of(self, waiter: Waiter) -> Verdict | None:
        """Return why a machine may not wait here, None when it may."""
        certificate = waiter.certificate
        identity = certificate.identity
        if certificate.not_after <= self._clock():
            return Verdict(Reason.CERTIFICATE_EXPIRED)
        admission = self._policy().admit(waiter.gateway_prefix, identity, by_signed_channel=waiter.by_signed_channel)
        if admission.refusal is not None:
            return admission.refusal
        if admission.machine is None or admission.machine.gateway != waiter.gateway_prefix:
            return Verdict(Reason.NOT_ASSOCIATED)
        return Verdict(Reason.DRAINING) if self._tunnelling.is_draining else None

    async def wait(self, waiter: Waiter, stream: ByteStream) -> None:
        """Let a machine wait on an established channel, which is used up afterwards."""
        home = home_of(waiter.machine_id, self._place.workers)
        if home == self._place.number:
            await self._keep(waiter, stream)
        elif not await self._pass_on(home, "machine", waiter, stream):
            stream.abort()

    async def enter(self, visitor: Visitor, client: ByteStream) -> None:
        """Serve somebody who wants to connect to a machine, to the end."""
        home = home_of(visitor.machine_id, self._place.workers)
        if home == self._place.number:
            await self._join(visitor, client)
        elif not await self._pass_on(home, "visitor", visitor, client):
            client.abort()

    async def _pass_on(self, home: int, kind: str, who: Waiter | Visitor, stream: ByteStream) -> bool:
        """Carry a stream to the machine's home; say whether both directions have ended cleanly."""
        try:
            link = await open_link(self._place.path_of(home), {"kind": kind, **asdict(who)}, who.peer)
        except HopError as error:
            _log.warning("a connection can't be passed on", worker=home, cause=error.one_line())
            if isinstance(who, Visitor):
                verdict = Verdict(Reason.INTERNAL, detail=error.sentence)
                await answer(stream, format_refusal(verdict, who.correlation_id))
                return True
            return False
        # The home's own time-outs come first, and say why.
        idle = self._patience.idle * 2
        try:
            ending = await relay(stream, link, Traffic(), idle_timeout=idle, half_closed_timeout=idle)
        finally:
            await link.close()
        return ending is Ending.COMPLETED

    async def _serve_link(self, stream: SocketStream) -> None:
        try:
            purpose, link = await accept_link(stream)
            await self._serve_purpose(purpose, link)
        except (StreamReset, TypeError) as error:
            _log.warning("a link of another worker can't be served", cause=str(error))

    async def _serve_purpose(self, purpose: dict[str, Any], link: LinkStream) -> None:
        if purpose.pop("kind", "") == "machine":
            await self._keep(Waiter(**purpose), link)
        else:
            await self._join(Visitor(**purpose), link)

    async def _keep(self, waiter: Waiter, stream: ByteStream) -> None:
        if self.refusal_of(waiter) is not None:
            return  # since its worker has asked
        machine = WaitingMachine(
            stream,
            waiter.certificate,
            lambda: self.refusal_of(waiter) is None,
            self._patience.keep_alive,
            waiter.by_signed_channel,
        )
        _log.debug("a machine waits for incoming connections", machine=waiter.machine_id, gateway=waiter.gateway_prefix)
        keeping = spawn("keep a waiting machine", machine.keep(self.machines.add))
        try:
            await asyncio.wait({keeping})
        finally:
            self.machines.discard(machine)
            await cancel(keeping)

    async def _join(self, visitor: Visitor, client: ByteStream) -> None:
        """Run the tunnel between a visitor and a machine."""
        tunnel = self._make_tunnel(visitor)
        try:
            wish = Wish(visitor.grant, visitor.machine_id, visitor.port, tunnel.id)
            tunnel.requester = await self._grants.redeem(wish)
        except Refused as refused:
            await self._tunnelling.refuse(client, tunnel, refused.verdict)
            return
        self._admit(tunnel, visitor)
        watching = spawn("watch an incoming connection", self._grants.watch(tunnel.id, tunnel.cut))
        try:
            await self._run(tunnel, visitor, client)
        finally:
            await cancel(watching)

    async def _run(self, tunnel: Tunnel, visitor: Visitor, client: ByteStream) -> None:
        machine: WaitingMachine | None = None

        async def open_target() -> ByteStream:
            nonlocal machine
            request = OpenRequest(visitor.port, tunnel.correlation_id, tunnel.requester)
            machine, stream = await self.machines.open(visitor.machine_id, request, self._patience.wait)
            tunnel.certificate, tunnel.by_signed_channel = machine.certificate, machine.by_signed_channel
            return stream

        async def establish() -> ByteStream:
            await client.send(format_established(tunnel.correlation_id))
            return client

        try:
            carrying = await self._tunnelling.open(tunnel, client, establish, None, open_target)
            if carrying is not None:
                await carrying
        finally:
            if machine is not None:
                machine.release()

    def _make_tunnel(self, visitor: Visitor) -> Tunnel:
        """Return the tunnel of somebody of whom nothing is known yet: what machines there are is not for strangers."""
        policy = self._policy()
        return Tunnel(
            id=str(uuid4()),
            correlation_id=visitor.correlation_id,
            gateway_prefix=visitor.gateway_prefix,
            certificate=None,
            target=Target(LOOPBACK, visitor.port),
            client_address=visitor.peer,
            admission=Admission(None, policy.snapshot.gateways.get(visitor.gateway_prefix)),
            verdict=Verdict(Reason.GRANT_INVALID),
            policy_revision=policy.snapshot.revision,
            address=LOOPBACK,
            incoming_to=visitor.machine_id,
        )

    def _admit(self, tunnel: Tunnel, visitor: Visitor) -> None:
        """Decide on a visitor whose grant holds."""
        policy = self._policy()
        tunnel.admission = policy.admit_requester(visitor.gateway_prefix, visitor.machine_id)
        tunnel.verdict = tunnel.admission.refusal or Verdict(Reason.INCOMING)
        tunnel.policy_revision = policy.snapshot.revision
