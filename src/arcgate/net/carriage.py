"""The carriage: a relay between two sockets, TLS or not, stepped by their readiness.

No task, future or timer belongs to a direction: the report of a socket calls `step`, which carries what there
is and returns. That is what makes a small tunnel cheap. Once both ends of a direction are plain sockets, the
kernel carries the bytes (`arcgate.net.splice`); a channel gets there by hand-over, decided here for the
sending side.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from arcgate.net.channel import ChannelTunnel
from arcgate.net.pace import Meter
from arcgate.net.readiness import Readiness
from arcgate.net.splice import splice_to_end
from arcgate.net.streams import PromptStream, SinkReset, SocketStream, StreamReset
from arcgate.net.sweep import Sweep
from arcgate.net.tasks import cancel
from arcgate.wire.inner_tls import InnerTls, RecordWalk

BULK = 64 * 1024
"""Bytes of a direction after which it counts as bulk."""

IDLE_HAND_OVER = 5.0
"""Seconds without a byte after which a tunnel that may be handed over is: that frees the memory of its TLS."""

TURN = 1024 * 1024
"""Bytes that one direction carries before others get their turn."""


class Ending(StrEnum):
    """How a relay ended."""

    COMPLETED = "completed"
    CLIENT_RESET = "client_reset"
    TARGET_RESET = "target_reset"
    IDLE = "idle_timeout"


class SideReset(Exception):
    """A side broke; `ending` says which."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass(slots=True)
class Traffic:
    """What a tunnel has carried so far, in bytes, and when it last did (the loop's clock)."""

    up: int = 0
    down: int = 0
    last: float = 0
    meter: Meter | None = None
    """Sees it too, where there is a limit."""

    @property
    def pacing(self) -> Meter | None:
        """The meter, if it may hold the tunnel up."""
        return self.meter if self.meter is not None and self.meter.is_pacing else None

    def count(self, size: int, *, is_up: bool, now: float) -> None:
        """Add bytes of one direction."""
        if is_up:
            self.up += size
        else:
            self.down += size
        self.last = now
        if self.meter is not None:
            self.meter.spend(size)


@dataclass(slots=True)
class HandOver:
    """When a direction leaves the channel's TLS: once `after` bytes have passed, or after `idle` seconds without.

    Both may change while a tunnel runs, as when it begins before the gateway has said what it agrees to.
    """

    after: int = BULK
    idle: float = IDLE_HAND_OVER


class Carriage:
    """Carries one tunnel; see `arcgate.net.relay`."""

    __slots__ = (
        "_directions",
        "_ended",
        "_half_closed_at",
        "_half_closed_timeout",
        "_idle_timeout",
        "hand_over",
        "inner",
        "loop",
        "pacing",
        "traffic",
    )

    def __init__(
        self,
        client: PromptStream,
        target: PromptStream,
        traffic: Traffic,
        idle_timeout: float,
        half_closed_timeout: float,
        hand_over: HandOver | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.traffic = traffic
        self.pacing = traffic.pacing
        self.hand_over = hand_over
        self.inner = InnerTls() if hand_over is not None else None
        self._idle_timeout = idle_timeout
        self._half_closed_timeout = half_closed_timeout
        self._half_closed_at = 0.0
        self._ended: asyncio.Future[Ending] = self.loop.create_future()
        inner = self.inner
        up = _Direction(self, client, target, is_up=True, walk=inner.from_client if inner else None)
        down = _Direction(self, target, client, is_up=False, walk=inner.from_server if inner else None)
        self._directions = (up, down)

    async def run(self) -> Ending:
        """Carry until the end; raises what a direction raised that is no reset."""
        up, down = self._directions
        sweep = Sweep.of(self.loop)
        up.start(down)
        down.start(up)
        try:
            up.step()
            down.step()
            if not self._ended.done():
                sweep.add(self, min(self._idle_timeout, self._half_closed_timeout))
            return await self._ended
        finally:
            sweep.discard(self)
            # Both let go before anything is awaited: a second cancellation must not leave one of them carrying.
            await cancel(*up.stop(), *down.stop())

    @property
    def is_over(self) -> bool:
        """Whether the ending is known: nothing may be passed on any more, least of all an end.

        A socket tells of its reset once. Whoever asks after that reads a clean end, and would pass it on.
        """
        return self._ended.done()

    def look(self, now: float) -> None:
        """End the tunnel when nothing has moved for too long; hand an idle one over."""
        open_directions = sum(not one.has_ended for one in self._directions)
        limit = self._idle_timeout if open_directions == 2 else self._half_closed_timeout
        if now - max(self.traffic.last, self._half_closed_at) >= limit:
            self.end(Ending.IDLE)
        elif self.hand_over is not None and now - self.traffic.last >= self.hand_over.idle:
            for one in self._directions:
                one.leave_tls()

    def direction_ended(self) -> None:
        """Take note that a direction has ended cleanly."""
        self._half_closed_at = self.loop.time()
        if all(one.has_ended for one in self._directions):
            self.end(Ending.COMPLETED)

    def end(self, ending: Ending) -> None:
        """End as a whole."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def fail(self, error: BaseException) -> None:
        """End with an error of ours."""
        if not self._ended.done():
            self._ended.set_exception(error)


class _Direction:
    """One direction of a carriage."""

    __slots__ = (
        "_carriage",
        "_carried",
        "_is_ending",
        "_is_up",
        "_is_watched",
        "_other",
        "_sink",
        "_source",
        "_splicing",
        "_walk",
        "has_ended",
    )

    def __init__(
        self, carriage: Carriage, source: PromptStream, sink: PromptStream, *, is_up: bool, walk: RecordWalk | None
    ) -> None:
        self._carriage = carriage
        self._source = source
        self._sink = sink
        self._is_up = is_up
        self._walk = walk
        self._carried = 0
        self._is_ending = False
        self._splicing: asyncio.Task[None] | None = None
        self._other: _Direction | None = None
        self._is_watched = isinstance(sink, ChannelTunnel) and walk is not None
        self.has_ended = False

    def start(self, other: "_Direction") -> None:
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
        except SinkReset:
            self._carriage.end(Ending.TARGET_RESET if self._is_up else Ending.CLIENT_RESET)
        except StreamReset:
            self._carriage.end(Ending.CLIENT_RESET if self._is_up else Ending.TARGET_RESET)
        except Exception as error:
            self._carriage.fail(error)

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

    def _flush(self) -> bool:
        try:
            return self._sink.flush_now()
        except StreamReset as error:
            raise SinkReset(str(error)) from None

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
            return self._sink.end_now()
        except StreamReset as error:
            raise SinkReset(str(error)) from None

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
            if sink.can_go_raw and sink.flush_now() and inner.hand_over_at(walk, 0) == 0:
                sink.go_raw()
        except StreamReset:
            self._carriage.end(Ending.TARGET_RESET if self._is_up else Ending.CLIENT_RESET)
        except Exception as error:
            self._carriage.fail(error)  # the sweep goes on with the others
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
        except SinkReset:
            self._carriage.end(Ending.TARGET_RESET if self._is_up else Ending.CLIENT_RESET)
        except StreamReset:
            self._carriage.end(Ending.CLIENT_RESET if self._is_up else Ending.TARGET_RESET)
        except Exception as error:
            self._carriage.fail(error)
        else:
            self.has_ended = True
            self._carriage.direction_ended()

    def _count(self, size: int) -> None:
        self._carriage.traffic.count(size, is_up=self._is_up, now=self._carriage.loop.time())


def _readiness_of(stream: PromptStream) -> Readiness:
    readiness = stream.readiness
    assert readiness is not None
    return readiness
