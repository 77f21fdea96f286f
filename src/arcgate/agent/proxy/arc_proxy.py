"""Arc Proxy's connections: read a head, find the way, open it, carry bytes, tell the story once."""

import asyncio
from collections.abc import Callable, Coroutine
from sys import intern
from time import monotonic
from typing import Any

import structlog

from arcgate.agent.outbound import Outbound, Tunnel, new_correlation_id, refused
from arcgate.agent.proxy.absolute_form import parse_absolute
from arcgate.agent.proxy.answers import INTERNAL, LIMIT_REACHED, format_refusal, refusal_of
from arcgate.agent.proxy.callers import Callers
from arcgate.agent.proxy.forwarding import Forwarder
from arcgate.agent.proxy.limits import ProxyLimits
from arcgate.agent.proxy.request_log import RequestRecord, shown_target
from arcgate.core.errors import ArcgateError
from arcgate.core.hand_over import HandOverMode
from arcgate.core.names import Target
from arcgate.core.routing import Way
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.channel import ChannelTunnel
from arcgate.net.deadlines import within
from arcgate.net.early_tunnel import EarlyTunnel
from arcgate.net.relay import Ending, HandOver, relay
from arcgate.net.stages import Stage
from arcgate.net.streams import ByteStream, PrefixedStream, SocketStream, StreamReset, close_gently
from arcgate.wire.connect import format_established, parse_connect
from arcgate.wire.heads import Fields, HeadError, RequestHead, RequestReader

_log = structlog.get_logger(__name__)

Relaying = Coroutine[Any, Any, Ending]


class ArcProxy:
    """Handles clients' connections; `limits` returns the newest bounds, `callers` who knows the clients, if anybody."""

    def __init__(
        self,
        outbound: Outbound,
        limits: Callable[[], ProxyLimits],
        callers: Callable[[], Callers | None] = lambda: None,
    ) -> None:
        self._outbound = outbound
        self._limits = limits
        self._callers = callers
        self._open = 0
        self._tunnels: dict[asyncio.Task[object], tuple[Target, RequestRecord]] = {}

    @property
    def open_connections(self) -> int:
        """Connections that are being served."""
        return self._open

    async def handle(self, client: SocketStream) -> Stage | None:
        """Serve one connection, or its first stage; the listener closes it."""
        self._open += 1
        record = RequestRecord(new_correlation_id(), client.peer, monotonic)
        return await self._tell(client, record, self._serve(client, record))

    async def _tell(self, client: SocketStream, record: RequestRecord, stage: Stage) -> Stage | None:
        """Run a stage; however it ends, the client gets to know, and after the last one the log does."""
        following: Stage | None = None
        try:
            following = await stage
        except StreamReset as error:
            record.reason, record.detail = record.reason or Ending.CLIENT_RESET, str(error)
            client.abort()
        except (ArcgateError, HeadError) as error:
            await self._refuse(client, error, record)
        except asyncio.CancelledError:
            record.reason = record.reason or EndReason.SHUTDOWN
            client.abort()
            raise
        except Exception as error:
            _log.exception("a request failed", correlation_id=record.correlation_id)
            await self._refuse(client, error, record)
        finally:
            if following is None:
                self._open -= 1
                if record.method or record.status:
                    record.log_end()
        return following

    def cut_refused(self) -> None:
        """End the running tunnels that the newest routing refuses."""
        routing = self._outbound.surroundings.routing
        for task, (target, record) in list(self._tunnels.items()):
            if routing.route(target).way is Way.REFUSE:
                record.reason = EndReason.TARGET_NOT_ALLOWED
                task.cancel()

    async def _serve(self, client: SocketStream, record: RequestRecord) -> Stage | None:
        if self._open > self._limits().connections:
            raise LIMIT_REACHED.with_traceback(None)
        received = await self._read_head(client)
        if received is None:
            return None
        head, raw, rest = received
        record.method, record.target = intern(head.method), shown_target(head.target)
        if (callers := self._callers()) is not None:
            await callers.require_allowed(client)
        if head.method != "CONNECT":
            await self._forward(client, head, raw + rest, record)
            return None
        request = parse_connect(head)
        record.correlation_id = request.correlation_id or record.correlation_id
        record.target = request.target.authority
        claim = await self._claim(client, request.target, record)
        tunnel = self._open_early(request.target, record, claim) or await self._open_way(request.target, record, claim)
        return self._tell(client, record, self._tunnel(client, request.target, rest, tunnel, record))

    async def _read_head(self, client: SocketStream) -> tuple[RequestHead, bytes, bytes] | None:
        """Return the head, its bytes and what came behind it; None when the client went without one."""
        reader = RequestReader(self._limits().head)
        raw = bytearray()
        limit = self._limits().head_timeout
        try:
            with within(limit):
                while data := await client.receive():
                    raw += data
                    if (head := reader.feed(data)) is not None:
                        return head, bytes(raw[: len(raw) - len(reader.rest)]), reader.rest
        except TimeoutError:
            raise HeadError(Reason.HEAD_TIMEOUT, f"the head was not complete after {limit:g} s") from None
        if reader.has_begun:
            raise HeadError(Reason.REQUEST_MALFORMED, "the connection ended within the head")
        return None

    async def _tunnel(
        self, client: SocketStream, target: Target, rest: bytes, tunnel: Tunnel, record: RequestRecord
    ) -> None:
        """Carry an open tunnel to its end."""
        is_whole = False
        task = asyncio.current_task()
        assert task is not None
        self._tunnels[task] = target, record
        try:
            record.status = 200
            await client.send(format_established(record.correlation_id))
            self._name_caller(client, record)
            source = PrefixedStream(rest, client) if rest else client
            record.reason = await (
                self._carry_early(source, tunnel, record)
                if record.was_answered_early
                else self._carry(source, tunnel, record)
            )
            is_whole = record.reason is Ending.COMPLETED
        finally:
            del self._tunnels[task]
            if isinstance(tunnel.stream, ChannelTunnel):
                record.was_handed_over = tunnel.stream.was_handed_over
            await _let_go(tunnel.stream, is_whole)
            if not is_whole:
                client.abort()

    async def _carry_early(self, client: ByteStream, tunnel: Tunnel, record: RequestRecord) -> Ending:
        """Carry a tunnel whose answer is still to come; raises HopError when it is none that begins a tunnel."""
        early, own = tunnel.stream, tunnel.hand_over
        assert isinstance(early, EarlyTunnel)
        terms = HandOver(own.after, own.idle_after)
        limit = self._outbound.surroundings.timeouts.answer
        try:
            async with asyncio.timeout(limit) as patience:

                def begin() -> None:
                    patience.reschedule(None)
                    agreed = own.limited_to(early.agreed)
                    terms.after, terms.idle = agreed.after, agreed.idle_after

                early.on_answered = begin
                ending = await self._relay(client, early, record, None if own.mode is HandOverMode.OFF else terms)
        except TimeoutError:
            early.give_up(f"no answer to CONNECT {record.target} in {limit:g} s")
            ending = Ending.TARGET_RESET
        if ending is Ending.CLIENT_RESET or (failure := early.failure()) is None:
            return ending
        record.failed_late = True
        self._outbound.early.failed(early.target)
        raise failure

    def _carry(self, client: ByteStream, tunnel: Tunnel, record: RequestRecord) -> Relaying:
        agreed = tunnel.hand_over
        terms = None if agreed.mode is HandOverMode.OFF else HandOver(agreed.after, agreed.idle_after)
        return self._relay(client, tunnel.stream, record, terms)

    def _relay(
        self, client: ByteStream, target: ByteStream, record: RequestRecord, hand_over: HandOver | None
    ) -> Relaying:
        limits = self._limits()
        return relay(
            client,
            target,
            record.traffic,
            idle_timeout=limits.idle_timeout,
            half_closed_timeout=limits.half_closed_timeout,
            hand_over=hand_over,
        )

    def _name_caller(self, client: SocketStream, record: RequestRecord) -> None:
        if (callers := self._callers()) is not None:
            callers.name(client, record)

    async def _claim(self, client: SocketStream, target: Target, record: RequestRecord) -> Fields:
        """Return what the gateway is told of the client's process: nothing, unless that is wanted."""
        callers = self._callers()
        if callers is None or not callers.claims_processes:
            return ()
        is_for_gateway = self._outbound.surroundings.routing.route(target).way is Way.GATEWAY
        return await callers.claim(client, record) if is_for_gateway else ()

    def _open_early(self, target: Target, record: RequestRecord, claim: Fields) -> Tunnel | None:
        """Return a tunnel whose client needn't wait for the gateway's answer, None where it has to."""
        now = self._outbound.surroundings
        if not now.answers_early:
            return None
        self._find_way(target, record)
        route = record.route
        if route is None:
            return None
        early = self._outbound.open_early(target, correlation_id=record.correlation_id, route=route, claim=claim)
        if early is None:
            return None
        record.log_start()
        record.was_answered_early = True
        return Tunnel(early, route, record.gateway, now.hand_over)

    def _find_way(self, target: Target, record: RequestRecord) -> None:
        now = self._outbound.surroundings
        if now.problem is None:
            record.route = now.routing.route(target)
            if record.route.way is Way.GATEWAY and now.gateway is not None:
                record.gateway = now.gateway.name

    async def _open_way(self, target: Target, record: RequestRecord, claim: Fields) -> Tunnel:
        self._find_way(target, record)
        record.log_start()
        return await self._outbound.open(target, correlation_id=record.correlation_id, route=record.route, claim=claim)

    async def _forward(self, client: SocketStream, head: RequestHead, received: bytes, record: RequestRecord) -> None:
        request = parse_absolute(head)
        forwarder = Forwarder(client, received, request, record, self._limits().idle_timeout)
        route = self._outbound.surroundings.routing.route(request.target)
        if route.way is Way.REFUSE:
            record.route = route
            raise refused(request.target, route)
        if route.way is Way.ENTERPRISE:
            record.route = route
            record.log_start()
            stream, proxy = await self._outbound.open_to_proxy(request.uri, request.target)
            exchange = forwarder.exchange(stream, proxy)
        else:
            claim = await self._claim(client, request.target, record)
            stream = (await self._open_way(request.target, record, claim)).stream
            exchange = forwarder.exchange(stream)
        is_whole = False
        self._name_caller(client, record)
        try:
            is_whole = await exchange
        finally:
            await _let_go(stream, is_whole)
        if is_whole:
            await close_gently(client)
        else:
            client.abort()

    async def _refuse(self, client: SocketStream, error: Exception, record: RequestRecord) -> None:
        refusal = refusal_of(error, record.correlation_id)
        record.reason = refusal.code or INTERNAL.code.lower()
        cause = f"Cause: {refusal.detail.rstrip('.')}." if refusal.detail else ""
        record.detail = " ".join(part for part in (refusal.message, cause, refusal.remedy) if part)
        if record.status:
            # The answer has begun; only a cut can tell the client now.
            client.abort()
            return
        record.status = refusal.status
        try:
            async with asyncio.timeout(self._limits().head_timeout):
                await client.send(format_refusal(refusal, record.target))
                await close_gently(client)
        except (StreamReset, TimeoutError):
            client.abort()
        except asyncio.CancelledError:
            client.abort()
            raise


async def _let_go(stream: ByteStream, is_whole: bool) -> None:
    if is_whole:
        await stream.close()
    else:
        stream.abort()
