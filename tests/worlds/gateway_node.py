"""A gateway node on loopback without a control plane: its policy, machines and targets are given by the test."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from arcgate.agent.paths import AgentPaths
from arcgate.control.authority.certificates import MachineIdentity, issue_machine, make_root, serial_of
from arcgate.core.audit import AuditRecord, Event
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.errors import Hop, HopError
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.names import Address, HostName
from arcgate.core.policy import Policy
from arcgate.core.snapshot import Entry, Kind, Snapshot
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.accounting import Accounting
from arcgate.gateway.front_door import FrontDoor, Names
from arcgate.gateway.grants import Wish
from arcgate.gateway.incoming import IncomingConnections, Patience, Place
from arcgate.gateway.machine_limits import MachineLimits, MostOfMachine
from arcgate.gateway.node_tls import facts_of
from arcgate.gateway.outbound import Outbound, Refused
from arcgate.gateway.sessions import Sessions, Timeouts
from arcgate.gateway.signed_channels import SignedChannels
from arcgate.gateway.spool import Spool
from arcgate.gateway.strangers import Strangers
from arcgate.gateway.tunnelling import Tunnelling
from arcgate.gateway.tunnels import OpenTunnels
from arcgate.net.dialer import dial
from arcgate.net.files import write_file
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.connect import format_answer
from arcgate.wire.heads import Limits, RequestHead, ResponseHead, ResponseReader
from worlds.authority import Authority
from worlds.waiting import until

TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
PREFIX = "gw-one"
DOMAIN = "arcgate.test"
NAME = f"{PREFIX}.gw.{DOMAIN}"
USUAL_HAND_OVER = HandOverPolicy(HandOverMode(os.environ.get("ARCGATE_HAND_OVER", "idle")))
"""What nodes have that are not asked for anything else; a run of the tests can have it otherwise as a whole."""
GATEWAY_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.HybridCompute/gateways/one"


@dataclass
class Machines:
    """A machine authority of the test's own; `pem` is what the gateway trusts."""

    folder: Path
    root: Any = field(default_factory=lambda: make_root("machines of a test", datetime.now(UTC)))

    @property
    def pem(self) -> str:
        return str(self.root.certificate.public_bytes(serialization.Encoding.PEM).decode())

    def issue(self, machine_id: str, *, tenant: str = TENANT, life: timedelta = timedelta(days=1)) -> tuple[Path, str]:
        """Return (file with certificate and key, serial) of a machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = issue_machine(self.root, key.public_key(), MachineIdentity(tenant, machine_id), now, life)
        path = self.folder / f"{uuid4()}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        return path, serial_of(certificate)


class ScriptedResolver:
    """Resolves the names that the test gives; `asked` are all questions in order."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[Address]] = {}
        self.asked: list[str] = []
        self.is_silent = False
        self.preferred: list[tuple[str, Address]] = []

    def prefer(self, host: HostName, address: Address) -> None:
        self.preferred.append((host, address))

    async def resolve(self, host: HostName) -> list[Address]:
        self.asked.append(host)
        if self.is_silent:
            await asyncio.Event().wait()
        if host not in self.addresses:
            raise HopError(Hop.DNS, "DNS_FAILED", f"{host} could not be resolved.", cause="the name does not exist")
        return list(self.addresses[host])


@dataclass
class ScriptedGrants:
    """Grants of the test's own: grant → who has it; `wishes` are all questions. `cut` ends connections."""

    known: dict[str, str] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    _cuts: dict[str, Callable[[EndReason], None]] = field(default_factory=dict)

    async def redeem(self, wish: Wish) -> str:
        self.wishes.append(wish)
        if wish.grant not in self.known:
            raise Refused(Verdict(Reason.GRANT_INVALID))
        return self.known.pop(wish.grant)

    async def watch(self, tunnel_id: str, cut: Callable[[EndReason], None]) -> None:
        self._cuts[tunnel_id] = cut
        try:
            await asyncio.Event().wait()
        finally:
            del self._cuts[tunnel_id]

    def cut(self, reason: EndReason) -> None:
        for one in list(self._cuts.values()):
            one(reason)


class GatewayNode:
    """A running node. Change `entries` by `publish`, read the audit by `records`."""

    def __init__(
        self,
        authority: Authority,
        folder: Path,
        timeouts: Timeouts,
        most_tunnels: int,
        idle_timeout: float,
        machine_limits: tuple[int, ...] = (100, 1000),
        hand_over: HandOverPolicy = USUAL_HAND_OVER,
        audit_process: bool = False,
        most_strangers: tuple[int, int] = (50, 50),
    ) -> None:
        self._audit_process = audit_process
        self.authority = authority
        self.today = 1_800_000_000.0
        self.machines = Machines(folder)
        self.resolver = ScriptedResolver()
        self.spool_folder = folder / "spool"
        self.spool = Spool(self.spool_folder)
        self.open_tunnels = OpenTunnels()
        self.policy = Policy(Snapshot(), shipped_catalogue())
        self.open_networks: tuple[Any, ...] = ()
        self._revision = 0
        self._timeouts, self._hand_over = timeouts, hand_over
        chain, key = authority.issue(f"*.gw.{DOMAIN}")
        self._chain = chain
        self._context = server_context(
            chain, key, client_authorities_pem=self.machines.pem, minimum=ssl.TLSVersion.TLSv1_3
        )
        tunnelling = Tunnelling(
            policy=lambda: self.policy,
            outbound=Outbound(self.resolver, None, self._is_own, 0.5, 2, self.resolver.prefer),
            accounting=Accounting(self.spool, "node/0", lambda: datetime.now(UTC)),
            open_tunnels=self.open_tunnels,
            most_tunnels=most_tunnels,
            machine_limits=MachineLimits(
                MostOfMachine(*machine_limits),
                clock=monotonic,
                today=lambda: self.today,
                on_used_up=self._cut_machine,
            ),
            idle_timeout=idle_timeout,
            half_closed_timeout=30,
        )
        self.tunnelling = tunnelling
        self.grants = ScriptedGrants()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.incoming = self.incoming_of(Place(0, 1, folder))
        self.sessions = self.sessions_of(self.incoming)
        names = Names(f".gw.{DOMAIN}", frozenset({f"management.{DOMAIN}"}), f".his.{DOMAIN}")
        front_door = FrontDoor(
            names,
            serve_gateway=self.sessions.serve,
            open_control=self._open_control,
            hello_timeout=timeouts.handshake,
            idle_timeout=60,
            strangers=Strangers(*most_strangers, monotonic),
        )
        self._listening = listen("127.0.0.1", 0)
        self.port: int = self._listening.getsockname()[1]
        self.listener = Listener([self._listening], front_door.handle)
        self.control_port = 0

    def incoming_of(self, place: Place, patience: Patience | None = None) -> IncomingConnections:
        """Return what serves incoming connections in one worker."""
        return IncomingConnections(
            policy=lambda: self.policy,
            tunnelling=self.tunnelling,
            grants=self.grants,
            place=place,
            patience=patience or Patience(keep_alive=5, wait=2, idle=30),
            clock=lambda: self.now(),
        )

    def sessions_of(self, incoming: IncomingConnections) -> Sessions:
        """Return what serves the clients of one worker."""
        return Sessions(
            tls=lambda: self._context,
            policy=lambda: self.policy,
            clock=lambda: datetime.now(UTC),
            tunnelling=self.tunnelling,
            serve_plain=_serve_plain,
            signed_channels=SignedChannels(
                facts=lambda: facts_of(self._chain, self.machines.pem),
                policy=lambda: self.policy,
                gateway_suffix=f".gw.{DOMAIN}",
                clock=lambda: datetime.now(UTC),
            ),
            timeouts=self._timeouts,
            limits=Limits(),
            hand_over=self._hand_over,
            incoming=incoming,
            audit_process=self._audit_process,
        )

    def publish(self, *facts: tuple[Kind, str, Mapping[str, Any] | None]) -> None:
        """Put a new revision in force."""
        self._revision += 1
        entries = [Entry(kind, key, self._revision, body) for kind, key, body in facts]
        snapshot = self.policy.snapshot.apply(entries, self._revision)
        self.policy = Policy(snapshot, shipped_catalogue(), self.open_networks)
        self.open_tunnels.check_again(self.policy)

    def publish_gateway(self, *features: str, **more: Any) -> None:
        body = {"resourceId": GATEWAY_ID, "tenantId": TENANT, "allowedFeatures": list(features) or ["*"], **more}
        cloud = {"domain": DOMAIN, "controlHosts": [f"management.{DOMAIN}", f"*.his.{DOMAIN}"]}
        self.publish((Kind.CLOUD, "cloud", cloud), (Kind.GATEWAY, PREFIX, body))

    def publish_endpoints(self, *endpoints: str, allow_private: bool = True, name: str = "own") -> None:
        body = {"name": name, "tenantId": TENANT, "endpoints": list(endpoints), "allowPrivate": allow_private}
        self.publish((Kind.ENDPOINT_SET, f"/sets/{name}", body))

    def publish_machine(self, machine_id: str, *, gateway: str | None = PREFIX, revoked: tuple[str, ...] = ()) -> None:
        resource = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/m"
        body = {"resourceId": resource, "tenantId": TENANT, "gateway": gateway, "revokedSerials": list(revoked)}
        self.publish((Kind.MACHINE, machine_id, body))

    def enrol(self, **options: Any) -> "Client":
        """Return a client of a machine that is known and associated."""
        machine_id = str(uuid4())
        certificate, serial = self.machines.issue(machine_id, **options)
        self.publish_machine(machine_id)
        return Client(self, certificate, machine_id, serial)

    def take_in(self, paths: AgentPaths) -> None:
        """Make an agent's folder that of a machine that is known and associated."""
        client = self.enrol()
        assert client.certificate is not None
        for file in (paths.machine_certificate, paths.machine_key):
            write_file(file, client.certificate.read_bytes())

    def stranger(self) -> "Client":
        """Return a client without a certificate."""
        return Client(self, None, "", "")

    def records(self, event: Event | None = None) -> list[AuditRecord]:
        """Return the audit records so far, of one kind if asked."""
        lines, _ = self.spool.unsent(100_000)
        records = [AuditRecord.from_json(json.loads(line)) for line in lines]
        return [record for record in records if event is None or record.event is event]

    async def wait_for_record(self, event: Event, count: int = 1) -> AuditRecord:
        """Return the newest of at least `count` records of a kind, once they are there."""
        await until(lambda: len(self.records(event)) >= count)
        return self.records(event)[-1]

    async def _open_control(self, _client: str) -> ByteStream:
        return await dial([ip_network("127.0.0.1").network_address], self.control_port, 2)

    def _cut_machine(self, machine: str) -> None:
        self.open_tunnels.cut_machine(machine, EndReason.DAY_USED_UP)

    def _is_own(self, address: Address, port: int) -> bool:
        return port == self.port and address.is_loopback


async def _serve_plain(client: ByteStream, head: RequestHead, prefix: str) -> None:
    await client.send(format_answer(200, f"{head.target.decode()} by {prefix}".encode(), (), "text/plain"))
    await client.end()


@dataclass
class Client:
    """One machine's side: makes TLS connections to the node and CONNECTs through them."""

    node: GatewayNode
    certificate: Path | None
    machine_id: str
    serial: str
    source: str = "127.0.0.1"
    """The loopback address that it comes from."""

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.node.authority.pem)  # noqa: TID251 - a client of the test's
        if self.certificate is not None:
            context.load_cert_chain(self.certificate)
        return context

    async def open(self, name: str = NAME) -> TlsStream:
        """Return a TLS connection to the node."""
        raw = await asyncio.get_running_loop().run_in_executor(
            None, lambda: socket.create_connection(("127.0.0.1", self.node.port), 5, (self.source, 0))
        )
        stream = TlsStream(SocketStream(raw), self.context(), server_side=False, server_hostname=name)
        try:
            await stream.handshake()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def ask(self, request: bytes, name: str = NAME) -> tuple[ResponseHead, bytes]:
        """Send bytes as a request; return the answer's head and body, read to the end."""
        stream = await self.open(name)
        try:
            await stream.send(request)
            head, rest = await read_head(stream)
            if 200 <= head.status < 300 and request.startswith(b"CONNECT"):
                return head, rest
            while data := await stream.receive():
                rest += data
            return head, rest
        finally:
            await stream.close()

    async def connect(self, authority: str, **fields: str) -> tuple[ResponseHead, bytes]:
        """CONNECT to a target, read the answer, and close."""
        return await self.ask(connect_request(authority, **fields))

    async def tunnel(self, authority: str) -> TlsStream:
        """Return an open tunnel to a target."""
        stream = await self.open()
        await stream.send(connect_request(authority))
        head, rest = await read_head(stream)
        assert head.status == 200, (head, rest)
        assert rest == b""
        return stream


def connect_request(authority: str, **fields: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{more}\r\n".encode("latin-1")


async def read_head(stream: ByteStream) -> tuple[ResponseHead, bytes]:
    reader = ResponseReader()
    while True:
        data = await stream.receive()
        assert data, "the connection ended before an answer"
        if (head := reader.feed(data)) is not None:
            return head, reader.rest


@asynccontextmanager
async def gateway_node(
    authority: Authority,
    folder: Path,
    *,
    timeouts: Timeouts | None = None,
    most_tunnels: int = 100,
    idle_timeout: float = 30,
    machine_limits: tuple[int, ...] = (100, 1000),
    hand_over: HandOverPolicy = USUAL_HAND_OVER,
    audit_process: bool = False,
    most_strangers: tuple[int, int] = (50, 50),
) -> AsyncIterator[GatewayNode]:
    """Run a node that knows the gateway `PREFIX` with all features, and drain it at the end."""
    node = GatewayNode(
        authority,
        folder,
        timeouts or Timeouts(),
        most_tunnels,
        idle_timeout,
        machine_limits,
        hand_over,
        audit_process,
        most_strangers,
    )
    node.publish_gateway()
    node.listener.start()
    try:
        yield node
    finally:
        node.incoming.let_go()
        await node.listener.stop(0)
        node.spool.close()


@asynccontextmanager
async def target(handle: Callable[[ByteStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Run a plain TCP service on loopback; gives its port."""
    listening = listen("127.0.0.1", 0)
    listener = Listener([listening], handle)
    listener.start()
    try:
        yield listening.getsockname()[1]
    finally:
        await listener.stop(0)
