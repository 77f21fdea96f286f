"""One direction of a carriage: carries what is there when its sockets report, and returns.

Once both ends are plain sockets, the kernel carries the bytes (`arcgate.net.splice`); a channel gets there by
hand-over, decided here for the sending side.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from arcgate.net.channel import ChannelTunnel
from arcgate.net.pace import Meter
from arcgate.net.readiness import Readiness
from arcgate.net.splice import splice_to_end
from arcgate.net.streams import PromptStream, SinkReset, SocketStream, StreamReset
from arcgate.net.traffic import BULK, Ending, HandOver, Traffic
from arcgate.wire.inner_tls import InnerTls, RecordWalk

TURN = 1024 * 1024
"""Bytes that one direction carries before others get their turn."""


class Whole(Protocol):
    """What the directions of a tunnel share: see `arcgate.net.carriage`."""

    loop: asyncio.AbstractEventLoop
    traffic: Traffic
    pacing: Meter | None
    hand_over: HandOver | None
    inner: InnerTls | None

    @property
    def is_over(self) -> bool: ...

    def direction_ended(self) -> None: ...

    def end(self, ending: Ending) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class Direction:
    """Carries from one stream to another. See `Whole` for what both directions of a tunnel share."""

    __slots__ = (
        "_carriage",
        "_carried",
        "_is_ending",
        "_is_up",
        "_other",
        "_sink",
        "_source",
        "_splicing",
        "_walk",
        "has_ended",
    )

    def __init__(
        self, carriage: Whole, source: PromptStream, sink: PromptStream, *, is_up: bool, walk: RecordWalk | None
    ) -> None:
        self._carriage = carriage
        self._source = source
        self._sink = sink
        self._is_up = is_up
        self._walk = walk
        self._carried = 0
        self._is_ending = False
        self._splicing: asyncio.Task[None] | None = None
        self._other: Direction | None = None
        self.has_ended = False

    def start(self, other: "Direction") -> None:
        """Have the sockets report to us."""
        self._other = other
        _readiness_of(self._source).on_readable = self.step
        _readiness_of(self._sink).on_writable = self.step

    def stop(self) -> list[asyncio.Task[None]]:
        """Carry no more; returns what remains to be cancelled."""
        self.has_ended = True
        self._let_go()
        self._other = None
        return [] if self._splicing is None else [self._splicing]

    def _let_go(self) -> None:
        _readiness_of(self._source).on_readable = None
        _readiness_of(self._sink).on_writable = None

    def step(self) -> None:
        """Carry what can be carried now; the next report goes on."""
        if self.has_ended or self._splicing is not None or self._carriage.is_over:
            return
        try:
            self._carry()
        except Exception as error:
            self._broke(error)

    def _carry(self) -> None:
        left = TURN
        pacing = self._carriage.pacing
        is_flushed = self._flush()
        while is_flushed:
            if self._is_ending:
                self.has_ended = True
                self._carriage.direction_ended()
                return
            if pacing is not None:
                if not pacing.may_carry(self.step):
                    return
            elif self._begin_splicing():  # the kernel knows no pace
                return
            data = self._source.receive_now()
            if data is None:
                self._follow_peer()
                return
            is_flushed = self._pass_on(data)
            left -= len(data)
            if left <= 0:
                # A socket that is always ready would never let the others have a turn.
                self._carriage.loop.call_soon(self.step)
                return

    def _broke(self, error: Exception) -> None:
        """End the tunnel for what one of its sides, or we, have done."""
        match error:
            case SinkReset():
                self._carriage.end(Ending.TARGET_RESET if self._is_up else Ending.CLIENT_RESET)
            case StreamReset():
                self._carriage.end(Ending.CLIENT_RESET if self._is_up else Ending.TARGET_RESET)
            case _:
                self._carriage.fail(error)

    def _flush(self) -> bool:
        return _to_sink(self._sink.flush_now)

    def _pass_on(self, data: bytes) -> bool:
        """Send what came, or the end; say whether it is gone."""
        try:
            if not data:
                self._is_ending = True
                return self._end_sink()
            place = self._place_of_hand_over(data) if self._walk is not None else None
            is_gone = self._sink.send_now(data) if place is None else self._switch(data, place)
        except StreamReset as error:
            raise SinkReset(str(error)) from None
        self._carried += len(data)
        self._carriage.traffic.count(len(data), is_up=self._is_up, now=self._carriage.loop.time())
        return is_gone

    def _end_sink(self) -> bool:
        return _to_sink(self._sink.end_now)

    def _switch(self, data: bytes, place: int) -> bool:
        assert isinstance(self._sink, ChannelTunnel)
        if place:
            self._sink.send_now(data[:place])
        self._sink.go_raw()
        # What was read behind the place goes out before the kernel takes over, or it would be lost.
        return self._sink.send_now(data[place:]) if place < len(data) else self._sink.flush_now()

    def _place_of_hand_over(self, data: bytes) -> int | None:
        """Return where in the data our direction may leave the channel's TLS, None while it may not."""
        inner, hand_over = self._carriage.inner, self._carriage.hand_over
        assert inner is not None
        assert hand_over is not None
        assert self._walk is not None
        if inner.is_hopeless:
            return None
        self._walk.feed(data)
        if not isinstance(self._sink, ChannelTunnel) or not self._sink.can_go_raw:
            return None
        # Where the peer has switched already, follow at once: only then is the TLS of the channel freed.
        is_due = self._carried + len(data) >= hand_over.after or self._sink.peer_went_raw
        return inner.hand_over_at(self._walk, len(data)) if is_due else None

    def leave_tls(self) -> None:
        """Hand our direction over between two pieces of data, where that is possible."""
        sink, inner, walk = self._sink, self._carriage.inner, self._walk
        if self.has_ended or self._is_ending or inner is None or walk is None or not isinstance(sink, ChannelTunnel):
            return
        try:
            if sink.can_go_raw and self._flush() and inner.hand_over_at(walk, 0) == 0:
                _to_sink(sink.go_raw)
        except Exception as error:
            self._broke(error)  # the sweep goes on with the others
        else:
            self.step()

    def _follow_peer(self) -> None:
        """Hand the other direction over too when the peer has gone raw with this one, data or not."""
        source = self._source
        if isinstance(source, ChannelTunnel) and source.peer_went_raw and source.can_go_raw and self._other is not None:
            self._other.leave_tls()

    def _begin_splicing(self) -> bool:
        """Have the kernel carry the rest, once both ends are plain sockets and it is worth it."""
        source, sink = self._source.raw_source, self._sink.raw_sink
        if source is None or sink is None:
            return False
        is_channel = isinstance(self._source, ChannelTunnel) or isinstance(self._sink, ChannelTunnel)
        if self._carried < BULK and not is_channel:
            return False
        self._let_go()
        self._splicing = self._carriage.loop.create_task(self._splice(source, sink), name="splice")
        return True

    async def _splice(self, source: SocketStream, sink: SocketStream) -> None:
        try:
            await splice_to_end(source, sink, self._count)
            if self._carriage.is_over:
                return
            self._end_sink()
        except Exception as error:
            self._broke(error)
        else:
            self.has_ended = True
            self._carriage.direction_ended()

    def _count(self, size: int) -> None:
        self._carriage.traffic.count(size, is_up=self._is_up, now=self._carriage.loop.time())


def _to_sink(act: Callable[[], bool]) -> bool:
    """Do something to the sink; what breaks then is its side, and raises SinkReset."""
    try:
        return act()
    except StreamReset as error:
        raise SinkReset(str(error)) from None


def _readiness_of(stream: PromptStream) -> Readiness:
    readiness = stream.readiness
    assert readiness is not None
    return readiness
