"""A gateway that does what the test says: TLS 1.3 with machine certificates, CONNECT, answers by table."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arcgate.core.names import parse_host
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.dialer import dial
from arcgate.net.listener import Listener, listen
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.streams import PrefixedStream, SocketStream, StreamReset, close_gently
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.connect import ConnectRequest, format_answer, format_established, format_refusal, parse_connect
from arcgate.wire.heads import HeadError, RequestReader
from worlds.authority import Authority

NAME = "prefix.gw.arcgate.test"
LOOPBACK = parse_host("127.0.0.1")


@dataclass
class FakeGateway:
    """Listens on loopback. `ports` maps targets to local ports, `refusals` to verdicts; others are not allowed."""

    authority: Authority
    machine_authority: Authority
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    certificate_required: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, Verdict] = field(default_factory=dict)
    raw_answer: bytes = b""
    """Sent in place of any answer to CONNECT."""
    requests: list[ConnectRequest] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    """Common names of the certificates that clients showed, empty for none."""
    is_silent: bool = False
    port: int = 0
    _listener: Listener | None = None
    _context: ssl.SSLContext | None = None

    def start(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        if self._context is None:
            chain, key = self.authority.issue(NAME, "front.gw.arcgate.test")
            self._context = server_context(
                chain, key, client_authorities_pem=self.machine_authority.pem, minimum=self.minimum
            )
            if self.certificate_required:
                self._context.verify_mode = ssl.CERT_REQUIRED
        listening = listen("127.0.0.1", self.port)
        self.port = listening.getsockname()[1]
        self._listener = Listener([listening], self._handle)
        self._listener.start()

    async def kill(self) -> None:
        """End like a killed process: no listener, and every connection reset."""
        if self._listener is not None:
            await self._listener.stop(0)
            self._listener = None

    async def _handle(self, client: SocketStream) -> None:
        assert self._context is not None
        channel = TlsStream(client, self._context, server_side=True)
        try:
            await channel.handshake()
            self.subjects.append(_subject(channel))
            await self._serve(channel)
        except (ssl.SSLError, StreamReset, HeadError, asyncio.CancelledError):
            client.abort()

    async def _serve(self, channel: TlsStream) -> None:
        reader = RequestReader()
        while (head := reader.feed(await _some(channel))) is None:
            pass
        if head.method == "GET":
            await channel.send(format_answer(200, b"well\n", (), "text/plain"))
            await close_gently(channel)
            return
        request = parse_connect(head)
        self.requests.append(request)
        if self.is_silent:
            await asyncio.Event().wait()
        if self.raw_answer:
            await channel.send(self.raw_answer)
            await close_gently(channel)
            return
        authority = request.target.authority
        if authority not in self.ports:
            verdict = self.refusals.get(authority, Verdict(Reason.TARGET_NOT_ALLOWED))
            await channel.send(format_refusal(verdict, request.correlation_id, authority))
            await close_gently(channel)
            return
        target = await dial([LOOPBACK], self.ports[authority], 5)  # type: ignore[list-item]
        await channel.send(format_established(request.correlation_id))
        await carry(PrefixedStream(reader.rest, channel), target)


async def carry(client: PrefixedStream, target: SocketStream) -> None:
    """Relay until both directions have ended; a cut on one side is one on the other."""
    try:
        ending = await relay(client, target, Traffic(), idle_timeout=30, half_closed_timeout=30)
    except asyncio.CancelledError:
        client.abort()
        target.abort()
        raise
    if ending is Ending.COMPLETED:
        await client.close()
        await target.close()
    else:
        client.abort()
        target.abort()


async def _some(channel: TlsStream) -> bytes:
    data = await channel.receive()
    if not data:
        raise StreamReset("no request")
    return data


def _subject(channel: TlsStream) -> str:
    certificate = channel.tls.getpeercert()
    names = dict(item for group in (certificate or {}).get("subject", ()) for item in group)  # type: ignore[misc]
    return str(names.get("commonName", ""))


@asynccontextmanager
async def fake_gateway(
    authority: Authority, machine_authority: Authority, *, certificate_required: bool = False
) -> AsyncIterator[FakeGateway]:
    """A running gateway."""
    gateway = FakeGateway(authority, machine_authority, certificate_required=certificate_required)
    gateway.start()
    try:
        yield gateway
    finally:
        await gateway.kill()


def closed_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
