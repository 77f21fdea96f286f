"""Sessions: one TLS connection of a client each, from the handshake over its CONNECT to the end of the tunnel."""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import structlog

from arcgate.core.policy import Policy
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.accounting import Accounting
from arcgate.gateway.identity import Certificate, read_certificate
from arcgate.gateway.outbound import Outbound, Refused
from arcgate.gateway.spool import SpoolFull
from arcgate.gateway.tunnels import OpenTunnels, Tunnel
from arcgate.net.relay import Ending, relay
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset, close_gently
from arcgate.net.tasks import spawn
from arcgate.net.tls import TlsStream, describe_failure
from arcgate.wire.connect import ConnectRequest, format_established, format_refusal, parse_connect
from arcgate.wire.heads import HeadError, Limits, RequestHead, RequestReader

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase of a session."""

    handshake: float = 10
    head: float = 10
    idle: float = 3600
    half_closed: float = 300


class Sessions:
    """Serves the gateway's own TLS connections. `tls` and `policy` return what is current at that moment."""

    def __init__(
        self,
        *,
        tls: Callable[[], ssl.SSLContext],
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        outbound: Outbound,
        accounting: Accounting,
        open_tunnels: OpenTunnels,
        serve_plain: Callable[[ByteStream, RequestHead, str], Awaitable[None]],
        timeouts: Timeouts,
        limits: Limits,
        most_tunnels: int,
    ) -> None:
        self._tls = tls
        self._policy = policy
        self._clock = clock
        self._outbound = outbound
        self._accounting = accounting
        self._open_tunnels = open_tunnels
        self._serve_plain = serve_plain
        self._timeouts = timeouts
        self._limits = limits
        self._most_tunnels = most_tunnels
        self.is_draining = False

    async def serve(self, stream: ByteStream, prefix: str) -> None:
        """Serve one connection whose SNI named the gateway `prefix`."""
        client = TlsStream(stream, self._tls(), server_side=True)
        try:
            async with asyncio.timeout(self._timeouts.handshake):
                await client.handshake()
        except (TimeoutError, ssl.SSLError, StreamReset) as error:
            cause = describe_failure(error) if isinstance(error, ssl.SSLError) else str(error) or "time-out"
            _log.info("handshake failed", client=stream.peer, gateway=prefix, cause=cause)
            return
        await self._serve_request(client, prefix)

    async def _serve_request(self, client: TlsStream, prefix: str) -> None:
        facts = client.tls.getpeercert()
        certificate = read_certificate(facts) if facts else None
        reader = RequestReader(self._limits)
        try:
            head = await self._read_head(client, reader)
            if head is None:
                return
            if head.method in {"GET", "HEAD"} and head.target.startswith(b"/"):
                await self._serve_plain(client, head, prefix)
                return
            request = parse_connect(head)
        except HeadError as error:
            await self._answer(
                client, format_refusal(Verdict(error.reason, detail=error.detail), _new_correlation_id())
            )
            return
        except StreamReset:
            return
        tunnel = self._make_tunnel(client, prefix, certificate, request)
        if facts and (refusal := self._certificate_refusal(certificate)) is not None:
            await self._refuse(client, tunnel, refusal)
            return
        inner = PrefixedStream(reader.rest, client) if reader.rest else client
        await self._supervise(inner, tunnel)

    def _certificate_refusal(self, certificate: Certificate | None) -> Verdict | None:
        if certificate is None:
            return Verdict(Reason.CERTIFICATE_UNSUITABLE)
        # A resumed TLS session is not verified again, so its certificate may have expired since.
        return Verdict(Reason.CERTIFICATE_EXPIRED) if certificate.not_after <= self._clock() else None

    async def _read_head(self, client: ByteStream, reader: RequestReader) -> RequestHead | None:
        try:
            async with asyncio.timeout(self._timeouts.head):
                while True:
                    data = await client.receive()
                    if not data:
                        return None
                    if (head := reader.feed(data)) is not None:
                        return head
        except TimeoutError:
            raise HeadError(Reason.HEAD_TIMEOUT, f"no complete head in {self._timeouts.head:g} s") from None

    def _make_tunnel(
        self, client: ByteStream, prefix: str, certificate: Certificate | None, request: ConnectRequest
    ) -> Tunnel:
        policy = self._policy()
        admission = policy.admit(prefix, certificate.identity if certificate else None)
        return Tunnel(
            id=str(uuid4()),
            correlation_id=request.correlation_id or _new_correlation_id(),
            gateway_prefix=prefix,
            certificate=certificate,
            target=request.target,
            client_address=client.peer,
            admission=admission,
            verdict=policy.decide(admission, request.target),
            policy_revision=policy.snapshot.revision,
        )

    async def _supervise(self, client: ByteStream, tunnel: Tunnel) -> None:
        """Run the tunnel in a task of its own, so that a cut ends it and nothing else."""
        self._open_tunnels.add(tunnel)
        tunnel.task = spawn(f"tunnel {tunnel.id}", self._run(client, tunnel))
        try:
            await asyncio.wait([tunnel.task])
        except asyncio.CancelledError:
            tunnel.cut(EndReason.SHUTDOWN)
            await asyncio.wait([tunnel.task])
            raise
        finally:
            self._open_tunnels.discard(tunnel)

    async def _run(self, client: ByteStream, tunnel: Tunnel) -> None:
        target: ByteStream | None = None
        ending: EndReason = EndReason.INTERNAL
        try:
            target = await self._open(tunnel)
            await client.send(format_established(tunnel.correlation_id))
            ending = await self._relay(client, target, tunnel)
        except Refused as refused:
            await self._refuse(client, tunnel, refused.verdict)
            return
        except StreamReset:
            ending = EndReason.CLIENT_RESET
        except asyncio.CancelledError:
            ending = tunnel.cut_reason or EndReason.SHUTDOWN
            if target is None:
                self._accounting.refuse(tunnel, _verdict_of_cut(ending))
            raise
        finally:
            # Nothing is awaited here: the end is recorded even while the process is being stopped.
            self._accounting.end(tunnel, ending)
            if target is not None:
                _finish(client, target, is_clean=ending is EndReason.COMPLETED)

    async def _open(self, tunnel: Tunnel) -> ByteStream:
        """Return the connection to the target, its start recorded; raises Refused."""
        if self.is_draining:
            raise Refused(Verdict(Reason.DRAINING))
        if not tunnel.verdict.is_allowed:
            raise Refused(tunnel.verdict)
        if len(self._open_tunnels) > self._most_tunnels:
            raise Refused(Verdict(Reason.LIMIT_REACHED))
        target = await self._outbound.open(tunnel, self._policy())
        try:
            self._accounting.start(tunnel)
        except SpoolFull as error:
            target.abort()
            raise Refused(Verdict(Reason.AUDIT_UNAVAILABLE, detail=str(error))) from None
        return target

    async def _relay(self, client: ByteStream, target: ByteStream, tunnel: Tunnel) -> EndReason:
        ending = await relay(
            client,
            target,
            tunnel.traffic,
            idle_timeout=self._timeouts.idle,
            half_closed_timeout=self._timeouts.half_closed,
        )
        if ending is Ending.COMPLETED:
            await target.close()
        return EndReason(ending)

    async def _refuse(self, client: ByteStream, tunnel: Tunnel, verdict: Verdict) -> None:
        verdict = self._accounting.refuse(tunnel, verdict)
        _log.info(
            "refused",
            correlation_id=tunnel.correlation_id,
            machine=tunnel.certificate.identity.machine_id if tunnel.certificate else None,
            target=tunnel.target.authority,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        await self._answer(client, format_refusal(verdict, tunnel.correlation_id, tunnel.target.authority))

    @staticmethod
    async def _answer(client: ByteStream, answer: bytes) -> None:
        try:
            async with asyncio.timeout(5):
                await client.send(answer)
        except (StreamReset, TimeoutError):
            return
        await close_gently(client)


def _finish(client: ByteStream, target: ByteStream, *, is_clean: bool) -> None:
    """Reset both sides after anything but a clean end, so that a cut is visible to both peers."""
    if not is_clean:
        target.abort()
        client.abort()


def _verdict_of_cut(ending: EndReason) -> Verdict:
    """Return the refusal of a tunnel that was cut while it was being opened."""
    reason = Reason.DRAINING if ending is EndReason.SHUTDOWN else Reason.TARGET_NOT_ALLOWED
    return Verdict(reason, detail=f"cut while it was being opened: {ending}")


def _new_correlation_id() -> str:
    return secrets.token_hex(16)
