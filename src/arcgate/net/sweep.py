"""The sweep: one timer of a loop that looks at all its tunnels, in place of a timer for each.

A timer costs more than half of what carrying a small tunnel does, and almost none of them ever fires.
"""

import asyncio
import weakref
from typing import Final, Protocol

import structlog

LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks, when no time-out is short."""

FINENESS: Final = 8
"""Looks during the shortest time-out: nothing ends more than an eighth too late."""

AT_ONCE: Final = 500
"""Looks before the loop's other work has a turn."""


_log = structlog.get_logger(__name__)


class Watched(Protocol):
    """What is looked at."""

    def look(self, now: float) -> None:
        """Do what is due at `now`, the loop's clock."""
        ...


class Sweep:
    """The watched of one loop. There is a timer only while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._watched: dict[Watched, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pause = LONGEST_PAUSE

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Sweep":
        """Return the loop's own."""
        sweep = _sweeps.get(loop)
        if sweep is None:
            sweep = _sweeps[loop] = Sweep(loop)
        return sweep

    def add(self, watched: Watched, timeout: float) -> None:
        """Look at it from now on, often enough for a time-out of so many seconds."""
        self._watched[watched] = timeout
        if self._timer is None or timeout < self._pause * FINENESS:
            self._set_timer(timeout)

    def discard(self, watched: Watched) -> None:
        """Look at it no more."""
        self._watched.pop(watched, None)

    def _set_timer(self, timeout: float) -> None:
        loop = self._loop()
        assert loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._pause = min(timeout / FINENESS, LONGEST_PAUSE)
        self._timer = loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._watched:
            self._look_at(list(self._watched))
            if self._timer is None:  # nobody who was looked at has set it
                self._set_timer(min(self._watched.values(), default=LONGEST_PAUSE * FINENESS))

    def _look_at(self, watched: list[Watched]) -> None:
        loop = self._loop()
        if loop is None:
            return
        now = loop.time()
        for one in watched[:AT_ONCE]:
            if one in self._watched:
                try:
                    one.look(now)
                except Exception:  # a defect of one must not end the time-outs of all
                    _log.exception("a look at a time-out failed")
        if rest := watched[AT_ONCE:]:
            loop.call_soon(self._look_at, rest)


_sweeps: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Sweep]" = weakref.WeakKeyDictionary()
