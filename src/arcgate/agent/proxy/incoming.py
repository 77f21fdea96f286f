"""Incoming connections at the machine: one channel waits at the gateway while the settings allow any.

Nothing listens here. The gateway asks for a port on the waiting channel; what the settings allow is dialled on this
machine's loopback addresses, and the channel becomes the connection while the next one goes to wait.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import structlog

from arcgate.agent.outbound import Outbound, new_correlation_id
from arcgate.agent.proxy.limits import ProxyLimits
from arcgate.agent.surroundings import GatewayPlace
from arcgate.core.errors import ArcgateError, HopError
from arcgate.core.incoming import IncomingRules
from arcgate.core.names import Address
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.backoff import Backoff
from arcgate.net.dialer import dial
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset, close_gently
from arcgate.net.tasks import cancel, spawn
from arcgate.wire.incoming import (
    OPENED,
    PONG,
    LineError,
    LineReader,
    OpenRequest,
    Ping,
    format_declined,
    parse_request,
)

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0
"""Seconds between tries to wait at the gateway."""
MISSED_PINGS = 2.5
"""How many times the announced pause is waited out before the channel counts as dead."""

LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

_DIAL_REASONS = {"TCP_REFUSED": Reason.TARGET_REFUSED, "TCP_TIMEOUT": Reason.TARGET_TIMEOUT}

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Connection:
    """An incoming connection that is open."""

    request: OpenRequest
    task: "asyncio.Task[None]"
    reason: str = ""


class IncomingConnections:
    """Waits and serves. `rules` and `limits` return what the settings say now."""

    def __init__(
        self, outbound: Outbound, rules: Callable[[], IncomingRules], limits: Callable[[], ProxyLimits]
    ) -> None:
        self._outbound = outbound
        self._rules = rules
        self._limits = limits
        self._connections: set[_Connection] = set()
        self._place: GatewayPlace | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._is_stopping = False

    def look(self) -> None:
        """Follow settings and goal: begin to wait or stop it, and cut the connections that are not allowed any more."""
        place = self._wanted_place()
        if place != self._place:
            self._place = place
            if self._waiting is not None:
                self._waiting.cancel()
            self._waiting = spawn("wait for incoming connections", self._wait(place)) if place is not None else None
        rules = self._rules()
        for one in list(self._connections):
            if (reason := rules.refusal_of(one.request.port)) is not None:
                one.reason = reason
                one.task.cancel()

    async def stop(self, drain_timeout: float) -> None:
        """Wait no more; connections get `drain_timeout` seconds to end."""
        self._is_stopping = True
        if self._waiting is not None:
            await cancel(self._waiting)
        if tasks := {one.task for one in self._connections}:
            await asyncio.wait(tasks, timeout=drain_timeout)
            await cancel(*tasks)

    def _wanted_place(self) -> GatewayPlace | None:
        """Return the gateway to wait at, None while nobody is waited for."""
        now = self._outbound.surroundings
        is_wanted = self._rules().wants_any and now.routing.uses_gateway and now.certificate is not None
        return now.gateway if is_wanted and now.problem is None and not self._is_stopping else None

    async def _wait(self, place: GatewayPlace) -> None:
        backoff = Backoff(random.random, FIRST_RETRY, LONGEST_RETRY)
        while True:
            try:
                stream = await self._outbound.open_waiting(place, new_correlation_id())
                _log.debug("waiting for incoming connections", gateway=place.name)
                has_served = await self._serve(stream, backoff)
            except (ArcgateError, StreamReset, LineError, TimeoutError) as error:
                cause = error.one_line() if isinstance(error, ArcgateError) else str(error) or "the gateway is silent"
                pause = backoff.next()
                _log.info("can't wait for incoming connections", gateway=place.name, cause=cause, pause=round(pause, 1))
                await asyncio.sleep(pause)
            else:
                if not has_served:  # a gateway that lets us go at once must not be asked at once
                    await asyncio.sleep(backoff.next())

    async def _serve(self, stream: ByteStream, backoff: Backoff) -> bool:
        """Wait on a channel until it has become a connection (True) or the gateway has ended it.

        Raises StreamReset, LineError or TimeoutError.
        """
        reader = LineReader()
        patience: float = self._outbound.surroundings.timeouts.answer
        is_given_away = False
        try:
            while True:
                line = await _next_line(stream, reader, patience)
                if line is None:
                    return False
                request = parse_request(line)
                if isinstance(request, Ping):
                    patience = request.seconds * MISSED_PINGS
                    await stream.send(PONG)
                    backoff.reset()
                    continue
                if (reason := self._refusal_of(request)) is not None:
                    _log.warning("incoming connection declined", **_facts(request), reason=reason)
                    await stream.send(format_declined(reason))
                    continue
                is_given_away = True
                rest, reader.rest = reader.rest, b""
                self._begin(request, PrefixedStream(rest, stream) if rest else stream)
                return True
        finally:
            if not is_given_away:
                stream.abort()

    def _refusal_of(self, request: OpenRequest) -> Reason | None:
        if len(self._connections) >= self._limits().connections:
            return Reason.LIMIT_REACHED
        return self._rules().refusal_of(request.port)

    def _begin(self, request: OpenRequest, stream: ByteStream) -> None:
        task = spawn("incoming connection", self._run(request, stream))
        connection = _Connection(request, task)
        self._connections.add(connection)
        task.add_done_callback(lambda _: self._ended(connection))

    def _ended(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    async def _run(self, request: OpenRequest, stream: ByteStream) -> None:
        """Serve one connection on its channel to the end."""
        loop = asyncio.get_running_loop()
        traffic, begun, reason = Traffic(), loop.time(), str(EndReason.SHUTDOWN)
        _log.info("incoming connection", **_facts(request))
        try:
            reason = await self._carry(request, stream, traffic)
        except StreamReset:
            reason = Ending.CLIENT_RESET
            stream.abort()
        except asyncio.CancelledError:
            reason = next((one.reason for one in self._connections if one.request is request and one.reason), reason)
            stream.abort()
            raise
        finally:
            _log.info(
                "incoming connection ended",
                **_facts(request),
                reason=reason,
                received=traffic.up,
                sent=traffic.down,
                seconds=round(loop.time() - begun, 3),
            )

    async def _carry(self, request: OpenRequest, stream: ByteStream, traffic: Traffic) -> str:
        """Connect the channel with the port; return how that ended. Raises StreamReset."""
        limits = self._limits()
        try:
            local = await dial(LOOPBACK, request.port, self._outbound.surroundings.timeouts.dial)
        except HopError as error:
            reason = _DIAL_REASONS.get(error.code, Reason.TARGET_UNREACHABLE)
            await stream.send(format_declined(reason))
            # The channel could go on waiting, but another one does already.
            await close_gently(stream)
            return reason
        is_whole = False
        try:
            await stream.send(OPENED)
            ending = await relay(
                stream,
                local,
                traffic,
                idle_timeout=limits.idle_timeout,
                half_closed_timeout=limits.half_closed_timeout,
            )
            is_whole = ending is Ending.COMPLETED
            return ending
        finally:
            if is_whole:
                await stream.close()
                await local.close()
            else:
                stream.abort()
                local.abort()


async def _next_line(stream: ByteStream, reader: LineReader, patience: float) -> bytes | None:
    """Return the gateway's next line, None when it has ended; raises LineError, StreamReset or TimeoutError."""
    async with asyncio.timeout(patience):
        while (line := reader.take()) is None:
            data = await stream.receive()
            if not data:
                return None
            reader.feed(data)
    return line


def _facts(request: OpenRequest) -> dict[str, object]:
    return {"requester": request.requester, "port": request.port, "correlation_id": request.correlation_id}
