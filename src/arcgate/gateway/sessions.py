"""Sessions: one TLS connection of a client each. Generic clients send one CONNECT; channels of Arc Proxy, which
offer frames, send one after the other."""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog

from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.incoming import WAITING, machine_of
from arcgate.core.policy import Policy
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.identity import Certificate, read_certificate
from arcgate.gateway.incoming import IncomingConnections, Visitor, Waiter
from arcgate.gateway.installer import is_plain
from arcgate.gateway.signed_channels import SignedChannel, SignedChannels
from arcgate.gateway.tunnelling import Carrying, Tunnelling, answer
from arcgate.gateway.tunnels import Tunnel
from arcgate.net.channel import ChannelTunnel
from arcgate.net.deadlines import within
from arcgate.net.messages import MessageStream
from arcgate.net.relay import HandOver
from arcgate.net.stages import Stage
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset
from arcgate.net.tls import TlsStream, describe_failure
from arcgate.wire.claims import read_claim
from arcgate.wire.connect import (
    HAND_OVER_FIELD,
    ConnectRequest,
    format_established,
    format_refusal,
    parse_connect,
)
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import Fields, HeadError, Limits, RequestHead, RequestReader
from arcgate.wire.incoming import GRANT_FIELD
from arcgate.wire.messages import CHANNEL_PATH

_log = structlog.get_logger(__name__)

ServePlain = Callable[[ByteStream, RequestHead, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for the phases before a tunnel; `channel_idle` is how long a machine's channel waits for the next."""

    handshake: float = 10
    head: float = 10
    channel_idle: float = 120


@dataclass(slots=True)
class _Session:
    """What is known of one connection past its handshake."""

    client: TlsStream | MessageStream
    prefix: str
    certificate: Certificate | None
    has_certificate: bool
    rest: bytes = b""
    """Bytes that were read behind the last tunnel."""
    signed: SignedChannel | None = None
    """Set once a client without a certificate in its TLS has opened a signed channel."""


class Sessions:
    """Serves the gateway's own TLS connections. `tls` and `policy` return what is current at that moment."""

    def __init__(
        self,
        *,
        tls: Callable[[], ssl.SSLContext],
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        tunnelling: Tunnelling,
        serve_plain: ServePlain,
        signed_channels: SignedChannels,
        timeouts: Timeouts,
        limits: Limits,
        hand_over: HandOverPolicy,
        incoming: IncomingConnections,
        audit_process: bool = False,
        held_end_silence: float = 1,
    ) -> None:
        self._tls = tls
        self._policy = policy
        self._clock = clock
        self._tunnelling = tunnelling
        self._serve_plain = serve_plain
        self._signed_channels = signed_channels
        self._timeouts = timeouts
        self._limits = limits
        self._hand_over = hand_over
        self._incoming = incoming
        self._audit_process = audit_process
        self._held_end_silence = held_end_silence
        self._waiting: set[asyncio.Task[Any]] = set()
        """Tasks of machines' channels that carry nothing."""

    def drain(self) -> None:
        """Take no more tunnels, and let go of the channels that carry none: their machines open others elsewhere."""
        self._tunnelling.is_draining = True
        for one in self._waiting:
            one.cancel()

    async def serve(self, stream: ByteStream, prefix: str, is_known: Callable[[], None] = lambda: None) -> Stage | None:
        """Serve one connection whose SNI named the gateway `prefix`, as far as its first tunnel.

        `is_known` is called when the client has shown a machine's certificate or sent a request's head: until then
        it may be anybody, holding a place.
        """
        client = TlsStream(stream, self._tls(), server_side=True)
        try:
            async with asyncio.timeout(self._timeouts.handshake):
                await client.handshake()
        except (TimeoutError, ssl.SSLError, StreamReset) as error:
            cause = describe_failure(error) if isinstance(error, ssl.SSLError) else str(error) or "time-out"
            _log.info("handshake failed", client=stream.peer, gateway=prefix, cause=cause)
            return None
        session = _begin(client, prefix)
        if session.certificate is not None:
            is_known()
        return await self._go_on(session, is_known)

    async def _go_on(self, session: _Session, is_known: Callable[[], None] = lambda: None) -> Stage | None:
        """Serve the next request, or begin its tunnel."""
        try:
            return await self._serve_request(session, is_known)
        except StreamReset:
            return None
        except HeadError as error:
            refusal = Verdict(error.reason, detail=error.detail)
            await answer(session.client, format_refusal(refusal, _new_correlation_id()))
            return None

    async def _serve_request(self, session: _Session, is_known: Callable[[], None]) -> Stage | None:
        """Serve the next request; return what comes after it. Raises HeadError or StreamReset."""
        reader = RequestReader(self._limits)
        head = await self._read_head(session, reader)
        if head is None:
            return None
        is_known()
        is_bare = session.signed is None and not session.has_certificate
        if head.method == "GET" and head.target == CHANNEL_PATH and is_bare:
            is_signed = await self._open_signed(session, head, reader.rest)
            return self._go_on(session) if is_signed else None
        if is_plain(head):
            rest = reader.rest
            client = PrefixedStream(rest, session.client) if rest else session.client
            await self._serve_plain(client, head, session.prefix)
            return None
        return await self._serve_connect(session, head, reader.rest)

    async def _serve_connect(self, session: _Session, head: RequestHead, rest: bytes) -> Stage | None:
        """Serve a CONNECT, or open its tunnel; return what comes after that. Raises HeadError or StreamReset."""
        request, refusal = self._read_connect(session, head)
        if (machine_id := machine_of(request.target)) is not None and refusal is None:
            await self._serve_visitor(session, request, machine_id, head, rest)
            return None
        tunnel = self._make_tunnel(session, request)
        if self._audit_process and session.certificate is not None and session.signed is None:
            tunnel.process = read_claim(head)  # on a signed channel somebody on the path could have changed it
        refusal = refusal or self._certificate_refusal(session)
        if refusal is not None:
            await self._tunnelling.refuse(session.client, tunnel, refusal)
            return None
        if request.target == WAITING:
            await self._serve_waiter(session, request, tunnel, rest)
            return None
        return await self._open_tunnel(session, request, tunnel, rest)

    def _read_connect(self, session: _Session, head: RequestHead) -> tuple[ConnectRequest, Verdict | None]:
        """Return the request, and the refusal of one whose proof is not good; raises HeadError."""
        if session.signed is None:
            return parse_connect(head), None
        request, refusal = session.signed.read(head, self._clock())
        session.certificate = session.signed.certificate if refusal is None else None
        return request, refusal

    async def _open_signed(self, session: _Session, head: RequestHead, rest: bytes) -> bool:
        """Take up a signed channel; say whether it is one now. Raises HeadError or StreamReset."""
        signed = await self._signed_channels.take_up(session.client, head, rest, session.prefix)
        if signed is None:
            return False
        session.signed, session.client = signed, signed.stream
        session.has_certificate = signed.certificate is not None  # whose it is, the first proof will show
        return True

    async def _serve_visitor(
        self, session: _Session, request: ConnectRequest, machine_id: str, head: RequestHead, rest: bytes
    ) -> None:
        """Serve somebody who wants to connect to a machine; raises HeadError."""
        grants = head.all(GRANT_FIELD.lower())
        if len(grants) != 1:
            raise HeadError(Reason.GRANT_INVALID, f"{GRANT_FIELD} stands {len(grants)} times")
        visitor = Visitor(
            machine_id=machine_id,
            port=request.target.port,
            grant=grants[0],
            gateway_prefix=session.prefix,
            correlation_id=request.correlation_id or _new_correlation_id(),
            peer=session.client.peer,
        )
        await self._incoming.enter(visitor, PrefixedStream(rest, session.client) if rest else session.client)

    async def _serve_waiter(self, session: _Session, request: ConnectRequest, tunnel: Tunnel, rest: bytes) -> None:
        """Let a machine wait for incoming connections; raises HeadError or StreamReset."""
        certificate = session.certificate
        if certificate is None:
            await self._tunnelling.refuse(session.client, tunnel, Verdict(Reason.CERTIFICATE_REQUIRED))
            return
        if not request.offers_frames:
            raise HeadError(Reason.REQUEST_MALFORMED, "waiting needs frames")
        waiter = Waiter(
            machine_id=certificate.identity.machine_id,
            tenant_id=certificate.identity.tenant_id,
            serial=certificate.identity.serial,
            not_after=certificate.not_after.isoformat(),
            gateway_prefix=session.prefix,
            by_signed_channel=session.signed is not None,
            peer=session.client.peer,
        )
        if (refusal := self._incoming.refusal_of(waiter)) is not None:
            await self._tunnelling.refuse(session.client, tunnel, refusal)
            return
        await session.client.send(format_established(tunnel.correlation_id, _AGREEMENTS[True, HandOverMode.OFF]))
        await self._incoming.wait(waiter, ChannelTunnel(session.client, rest, may_hand_over=False))

    async def _open_tunnel(
        self, session: _Session, request: ConnectRequest, tunnel: Tunnel, rest: bytes
    ) -> Stage | None:
        gateway = tunnel.admission.gateway
        agreed = self._hand_over.limited_to(request.hand_over, gateway.hand_over if gateway else HandOverMode.OFF)
        may_hand_over = agreed.mode is not HandOverMode.OFF
        hold_end = self._held_end_silence if request.holds_end else 0

        async def establish() -> ByteStream:
            await session.client.send(
                format_established(tunnel.correlation_id, _AGREEMENTS[request.offers_frames, agreed.mode])
            )
            if request.offers_frames:
                return ChannelTunnel(
                    session.client, rest, may_hand_over=may_hand_over, hold_end=hold_end, in_silence=True
                )
            return PrefixedStream(rest, session.client) if rest else session.client

        hand_over = HandOver(agreed.after, agreed.idle_after) if may_hand_over else None
        carrying = await self._tunnelling.open(tunnel, session.client, establish, hand_over)
        return None if carrying is None else self._carry(session, carrying)

    async def _carry(self, session: _Session, carrying: Carrying) -> Stage | None:
        """Carry a tunnel to its end; a channel that it leaves clean takes the next request."""
        ended = await carrying
        if not isinstance(ended, ChannelTunnel) or not ended.is_reusable:
            return None
        session.rest = ended.rest
        return self._go_on(session)

    async def _read_head(self, session: _Session, reader: RequestReader) -> RequestHead | None:
        """Return the next head, None when the client leaves before one; raises HeadError or StreamReset.

        A machine's channel may wait a while for its first byte; from then on, and for strangers, the head's
        own time runs.
        """
        data, session.rest = session.rest, b""
        if not data and not (data := await self._first_bytes(session)):
            return None
        if (head := reader.feed(data)) is not None:  # as a rule it comes in one piece
            return head
        try:
            with within(self._timeouts.head):
                while data := await session.client.receive():
                    if (head := reader.feed(data)) is not None:
                        return head
        except TimeoutError:
            raise HeadError(Reason.HEAD_TIMEOUT, f"no complete head in {self._timeouts.head:g} s") from None
        return None

    async def _first_bytes(self, session: _Session) -> bytes:
        if session.certificate is not None:
            return await self._next_of_channel(session)
        patience = self._timeouts.head
        try:
            with within(patience):
                return await session.client.receive()
        except TimeoutError:
            raise HeadError(Reason.HEAD_TIMEOUT, f"no request in {patience:g} s") from None

    async def _next_of_channel(self, session: _Session) -> bytes:
        """Return the first bytes of a channel's next request; an idle channel ends without a word."""
        task = asyncio.current_task()
        assert task is not None
        if self._tunnelling.is_draining:
            return b""
        self._waiting.add(task)
        try:
            with within(self._timeouts.channel_idle):
                return await session.client.receive()
        except TimeoutError:
            return b""
        finally:
            self._waiting.discard(task)

    def _certificate_refusal(self, session: _Session) -> Verdict | None:
        certificate = session.certificate
        if not session.has_certificate:
            return None
        if certificate is None:
            return Verdict(Reason.CERTIFICATE_UNSUITABLE)
        # A resumed TLS session is not verified again, and a channel lives long: it may have expired since.
        return Verdict(Reason.CERTIFICATE_EXPIRED) if certificate.not_after <= self._clock() else None

    def _make_tunnel(self, session: _Session, request: ConnectRequest) -> Tunnel:
        policy = self._policy()
        identity = session.certificate.identity if session.certificate else None
        admission = policy.admit(session.prefix, identity, by_signed_channel=session.signed is not None)
        return Tunnel(
            id=str(uuid4()),
            correlation_id=request.correlation_id or _new_correlation_id(),
            gateway_prefix=session.prefix,
            certificate=session.certificate,
            target=request.target,
            client_address=session.client.peer,
            admission=admission,
            verdict=policy.decide(admission, request.target),
            policy_revision=policy.snapshot.revision,
            by_signed_channel=session.signed is not None,
        )


def _agreement(frames: bool, hand_over: HandOverMode) -> Fields:
    """Return the fields that accept what an Arc Proxy offered."""
    fields = ((FRAMES_FIELD, FRAMES_VERSION),) if frames else ()
    return fields if hand_over is HandOverMode.OFF else (*fields, (HAND_OVER_FIELD, hand_over))


_AGREEMENTS = {(frames, mode): _agreement(frames, mode) for frames in (True, False) for mode in HandOverMode}


def _begin(client: TlsStream, prefix: str) -> _Session:
    """Return the session of a connection that has shaken hands. The certificate's facts stay here: they are large."""
    facts = client.tls.getpeercert()
    return _Session(client, prefix, read_certificate(facts) if facts else None, has_certificate=bool(facts))


def _new_correlation_id() -> str:
    return secrets.token_hex(16)
