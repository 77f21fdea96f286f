"""One direction of a carriage: carries what is there when its sockets report, and returns.

Once both ends are plain sockets, the kernel carries the bytes (`arcgate.net.splice`); a channel gets there by
hand-over, decided here for the sending side.
"""

import asyncio
from typing import Protocol

from arcgate.net.channel import ChannelTunnel
from arcgate.net.pace import Meter
from arcgate.net.readiness import Readiness
from arcgate.net.splice import Splice
from arcgate.net.streams import PromptStream, SinkReset, StreamReset, to_sink
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

    def stop_watching(self) -> None: ...

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
        "_splice",
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
        self._splice: Splice | None = None
        self._other: Direction | None = None
        self.has_ended = False

    @property
    def is_watching(self) -> bool:
        """Whether it still follows the records inside, to find a place where it or the other one may be handed over."""
        return self._walk is not None

    def start(self, other: "Direction") -> None:
        """Have the sockets report to us."""
        self._other = other
        _readiness_of(self._source).on_readable = self
        _readiness_of(self._sink).on_writable = self
        self._reset_at_death(True)

    def stop(self) -> None:
        """Carry no more."""
        self.has_ended = True
        _readiness_of(self._source).on_readable = None
        _readiness_of(self._sink).on_writable = None
        self._other = None
        if self._splice is not None:
            self._splice.close()
        self._reset_at_death(False)

    def _reset_at_death(self, is_wanted: bool) -> None:
        """Let the sink see a cut if this process is killed: the kernel would end what is no TLS of ours."""
        if (sink := self._sink.raw_sink) is not None:
            sink.reset_at_death(is_wanted)

    def step(self) -> None:
        """Carry what can be carried now; the next report goes on."""
        if self.has_ended or self._carriage.is_over:
            return
        try:
            if self._splice is None:
                self._carry()
            else:
                self._carry_in_kernel(self._splice)
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
        return to_sink(self._sink.flush_now)

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
        try:
            return to_sink(self._sink.end_now)
        except SinkReset:
            # A client that has said its end and closed resets its socket when the target's last words come, its
            # close_notify above all: usual, and no cut. A channel's peer has to hear of the end.
            if isinstance(self._sink, ChannelTunnel) or self._other is None or not self._other.has_ended:
                raise
            return True

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
                to_sink(sink.go_raw)
        except Exception as error:
            self._broke(error)  # the sweep goes on with the others
        else:
            self.step()

    def _follow_peer(self) -> None:
        """Hand the other direction over too when the peer has gone raw with this one, data or not."""
        source = self._source
        if not isinstance(source, ChannelTunnel) or not source.peer_went_raw:
            return
        if source.can_go_raw and self._other is not None:
            self._other.leave_tls()
        if source.is_raw:
            self._stop_watching()

    def _stop_watching(self) -> None:
        self._walk = None
        self._carriage.stop_watching()

    def _begin_splicing(self) -> bool:
        """Have the kernel carry the rest, once both ends are plain sockets and it is worth it."""
        source, sink = self._source.raw_source, self._sink.raw_sink
        if source is None or sink is None:
            return False
        is_channel = isinstance(self._source, ChannelTunnel) or isinstance(self._sink, ChannelTunnel)
        if self._carried < BULK and not is_channel:
            return False
        _readiness_of(self._sink).on_writable = None  # each arrival reports a writable socket as well
        self._stop_watching()
        sink.reset_at_death(True)
        self._splice = Splice(source, sink)
        self._carry_in_kernel(self._splice)
        return True

    def _carry_in_kernel(self, splice: Splice) -> None:
        if splice.carry(self._count):
            self._carriage.loop.call_soon(self.step)
        elif splice.has_ended:
            self._end_sink()
            self.has_ended = True
            self._carriage.direction_ended()
        else:
            self._await_report(splice)

    def _await_report(self, splice: Splice) -> None:
        """Have the socket report that keeps us from carrying, and that one alone."""
        source, sink = _readiness_of(self._source), _readiness_of(self._sink)
        if splice.is_stuck and source.on_readable is self:
            source.on_readable, sink.on_writable = None, self
            source.pause_reading()
        elif not splice.is_stuck and sink.on_writable is self:
            source.on_readable, sink.on_writable = self, None
            source.resume_reading()

    def _count(self, size: int) -> None:
        self._carriage.traffic.count(size, is_up=self._is_up, now=self._carriage.loop.time())


def _readiness_of(stream: PromptStream) -> Readiness:
    readiness = stream.readiness
    assert readiness is not None
    return readiness
