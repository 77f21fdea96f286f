"""A token bucket that is one worker's part of a rate.

Workers that use it share it evenly, idle ones leave it to them.
"""

from collections.abc import Callable

from arcgate.core.token_bucket import TokenBucket

LOOK = 0.1
"""Seconds after which a worker looks anew how many others there are."""
QUIET = 0.3
"""Seconds without use after which a worker has no part."""


class SharedBucket(TokenBucket):
    """A part of `whole` tokens a second. `count_busy` says how many of the `workers` use them, this one included.

    The bursts of all parts together are one second's tokens, so that going round the workers gains nothing.
    """

    __slots__ = ("_count_busy", "_look_at", "_whole", "_workers")

    def __init__(self, whole: float, workers: int, now: float, count_busy: Callable[[], int]) -> None:
        part = whole / workers
        super().__init__(rate=part, most=part, left=part, at=now)
        self._whole = whole
        self._workers = workers
        self._count_busy = count_busy
        self._look_at = now

    def fill(self, now: float) -> float:
        """See TokenBucket."""
        if now >= self._look_at:
            if now - self._look_at > LOOK:
                self.rate = self._whole / self._workers  # nobody has looked: others may have had the rest
            super().fill(now)
            self.rate = self._whole / max(1, min(self._count_busy(), self._workers))
            self._look_at = now + LOOK
        return super().fill(now)

    def pause(self, now: float) -> float:
        """Return the seconds until it is worth looking again, 0 when the bucket isn't overdrawn."""
        return min(LOOK, super().pause(now))
