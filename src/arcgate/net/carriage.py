"""The carriage: a relay between two sockets, TLS or not, stepped by their readiness.

No task, future or timer belongs to a direction (`arcgate.net.direction`): the report of a socket has it carry what
there is and return. That is what makes a small tunnel cheap.
"""

import asyncio

from arcgate.net.direction import Direction
from arcgate.net.streams import PromptStream
from arcgate.net.sweep import Sweep
from arcgate.net.traffic import Ending, HandOver, Traffic
from arcgate.wire.inner_tls import InnerTls


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
        up = Direction(self, client, target, is_up=True, walk=inner.from_client if inner else None)
        down = Direction(self, target, client, is_up=False, walk=inner.from_server if inner else None)
        self._directions: tuple[Direction, ...] = (up, down)

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
            up.stop()
            down.stop()
            self._directions = ()  # they know us, and a circle would wait for the collector

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

    def stop_watching(self) -> None:
        """Let go of what watched the records inside, once both directions have no use for it any more."""
        if not any(one.is_watching for one in self._directions):
            self.inner = self.hand_over = None

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
