"""The pace of several relays together: none reads more while their common bucket is overdrawn, then each in turn."""

from collections.abc import Callable
from typing import Protocol

from arcgate.core.token_bucket import TokenBucket

SHORTEST_PAUSE = 0.001
"""Seconds before the bucket is looked at again, however little is missing."""

MOST_TURNS = 64
"""Directions that go on at once before the loop's other work has a turn."""

Resume = Callable[[], None]


class Meter(Protocol):
    """Sees what a tunnel carries, and may hold it up."""

    @property
    def is_pacing(self) -> bool:
        """Whether it may hold a tunnel up: such a tunnel asks before it reads."""
        ...

    def may_carry(self, resume: Resume) -> bool:
        """Say whether a direction may read now; if not, `resume` is called when it may."""
        ...

    def spend(self, size: int) -> None:
        """Take note of bytes that were carried."""
        ...


class Pace:
    """Lets directions carry while there are tokens. `later` calls something after so many seconds."""

    def __init__(
        self, bucket: TokenBucket, clock: Callable[[], float], later: Callable[[float, Resume], object]
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._later = later
        self._waiting: dict[Resume, None] = {}
        self._whose_turn: Resume | None = None
        self._is_timed = False

    def may_carry(self, resume: Resume) -> bool:
        """Say whether a direction may read now; if not, it stands in line and `resume` is called in its turn."""
        if resume == self._whose_turn:
            self._whose_turn = None
            return True
        # Whoever comes while others wait stands behind them, or one busy tunnel would take all there is.
        if not self._waiting and self._bucket.fill(self._clock()) > 0:
            return True
        self._waiting[resume] = None
        self._set_timer()
        return False

    def spend(self, size: int) -> None:
        """Take note of bytes that were carried."""
        self._bucket.take(size, self._clock())

    def _set_timer(self) -> None:
        if not self._is_timed:
            self._is_timed = True
            self._later(max(SHORTEST_PAUSE, self._bucket.pause(self._clock())), self._go_on)

    def _go_on(self) -> None:
        self._is_timed = False
        for _ in range(MOST_TURNS):
            if not self._waiting or self._bucket.fill(self._clock()) <= 0:
                break
            self._whose_turn = next(iter(self._waiting))
            del self._waiting[self._whose_turn]
            self._whose_turn()
        self._whose_turn = None
        if self._waiting:
            self._set_timer()
