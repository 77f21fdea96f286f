"""The relay: bytes from each side to the other until both directions have ended, each by itself.

Small tunnels go through buffers of ours. Once both ends of a direction are plain sockets, the kernel carries
the bytes (`arcgate.net.splice`); a channel gets there by hand-over, which the relay decides for its sending side.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from arcgate.net.channel import ChannelTunnel
from arcgate.net.splice import splice_to_end
from arcgate.net.streams import ByteStream, RawEnds, SinkReset, SocketStream, StreamReset
from arcgate.net.tasks import Share, cancel
from arcgate.wire.inner_tls import InnerTls, RecordWalk

BULK = 64 * 1024
"""Bytes of a direction after which it counts as bulk."""

TURN = 1024 * 1024
"""Bytes that one direction carries before others get their turn."""


class Ending(StrEnum):
    """How a relay ended."""

    COMPLETED = "completed"
    CLIENT_RESET = "client_reset"
    TARGET_RESET = "target_reset"
    IDLE = "idle_timeout"


@dataclass(slots=True)
class Traffic:
    """What a tunnel has carried so far, in bytes, and when it last did (the loop's clock)."""

    up: int = 0
    down: int = 0
    last: float = 0


@dataclass(frozen=True, slots=True)
class HandOver:
    """When a direction leaves the channel's TLS: once `after` bytes have passed and `inner` allows it."""

    after: int = BULK
    inner: InnerTls = field(default_factory=InnerTls)


class _SideReset(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass(slots=True)
class _Direction:
    """One direction of a relay."""

    source: ByteStream
    sink: ByteStream
    source_broke: Ending
    sink_broke: Ending
    count: Callable[[int], None]
    hand_over: HandOver | None
    walk: RecordWalk | None
    carried: int = 0

    async def run(self) -> None:
        """Carry everything, then end the sink; raises _SideReset."""
        share = Share(TURN)
        try:
            while (sockets := self._sockets()) is None:
                data = await self.source.receive()
                if not data:
                    break
                await self._pass_on(data)
                await share.spend(len(data))
            else:
                await splice_to_end(*sockets, self.count)
        except SinkReset:
            raise _SideReset(self.sink_broke) from None
        except StreamReset:
            raise _SideReset(self.source_broke) from None
        try:
            await self.sink.end()
        except StreamReset:
            raise _SideReset(self.sink_broke) from None

    async def _pass_on(self, data: bytes) -> None:
        place = self._place_of_hand_over(data)
        try:
            if place is None:
                await self.sink.send(data)
            else:
                await self._switch(data, place)
        except StreamReset as error:
            raise SinkReset(str(error)) from None
        self.carried += len(data)
        self.count(len(data))

    async def _switch(self, data: bytes, place: int) -> None:
        assert isinstance(self.sink, ChannelTunnel)
        if place:
            await self.sink.send(data[:place])
        await self.sink.go_raw()
        if place < len(data):
            # What was read behind the place goes out before the kernel takes over, or it would be lost.
            await self.sink.send(data[place:])

    def _place_of_hand_over(self, data: bytes) -> int | None:
        """Return where in the data our direction may leave the channel's TLS, None while it may not."""
        if self.hand_over is None or self.walk is None or self.hand_over.inner.is_hopeless:
            return None
        self.walk.feed(data)
        if not isinstance(self.sink, ChannelTunnel) or not self.sink.can_go_raw:
            return None
        # Where the peer has switched already, follow at once: only then is the TLS of the channel freed.
        is_due = self.carried + len(data) >= self.hand_over.after or self.sink.peer_went_raw
        return self.hand_over.inner.hand_over_at(self.walk, len(data)) if is_due else None

    def _sockets(self) -> tuple[SocketStream, SocketStream] | None:
        """Return the plain sockets at both ends, once there are two and it is worth it."""
        if not isinstance(self.source, RawEnds) or not isinstance(self.sink, RawEnds):
            return None
        source, sink = self.source.raw_source, self.sink.raw_sink
        if source is None or sink is None:
            return None
        return (source, sink) if self.carried >= BULK or _is_channel(self.source) or _is_channel(self.sink) else None


def _is_channel(stream: ByteStream) -> bool:
    return isinstance(stream, ChannelTunnel)


async def relay(
    client: ByteStream,
    target: ByteStream,
    traffic: Traffic,
    *,
    idle_timeout: float,
    half_closed_timeout: float,
    hand_over: HandOver | None = None,
) -> Ending:
    """Carry bytes both ways; a direction's end is passed on and the other one goes on.

    Returns how it ended and leaves both streams open: after COMPLETED close them, after anything else abort
    them, so that a cut is visible to the peer. Time-outs are in seconds without a byte in either direction.
    Cancelling it is safe; bytes are counted when they have been handed to the receiving side's socket.
    """
    loop = asyncio.get_running_loop()
    traffic.last = loop.time()

    def count_up(size: int) -> None:
        traffic.up += size
        traffic.last = loop.time()

    def count_down(size: int) -> None:
        traffic.down += size
        traffic.last = loop.time()

    inner = hand_over.inner if hand_over is not None else None
    up = _Direction(
        client,
        target,
        Ending.CLIENT_RESET,
        Ending.TARGET_RESET,
        count_up,
        hand_over,
        inner.from_client if inner else None,
    )
    down = _Direction(
        target,
        client,
        Ending.TARGET_RESET,
        Ending.CLIENT_RESET,
        count_down,
        hand_over,
        inner.from_server if inner else None,
    )
    pumps = {loop.create_task(up.run(), name="relay up"), loop.create_task(down.run(), name="relay down")}
    return await _watch(pumps, traffic, idle_timeout, half_closed_timeout)


async def _watch(
    pumps: set[asyncio.Task[None]], traffic: Traffic, idle_timeout: float, half_closed_timeout: float
) -> Ending:
    """Wait until both directions have ended, one of them broke, or nothing has moved for too long."""
    loop = asyncio.get_running_loop()
    pending = set(pumps)
    half_closed_at = 0.0
    try:
        while pending:
            limit = idle_timeout if len(pending) == 2 else half_closed_timeout
            left = max(traffic.last, half_closed_at) + limit - loop.time()
            if left <= 0:
                return Ending.IDLE
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                error = pump.exception()
                if isinstance(error, _SideReset):
                    return error.ending
                if error is not None:
                    raise error
                half_closed_at = loop.time()
        return Ending.COMPLETED
    finally:
        await cancel(*pumps)
