"""Freed memory: gives it back to the system once tunnels have let go of their TLS.

The C library keeps what is freed for later, and the pages of many small pieces stay resident for good: after a
thousand tunnels were handed over, a third of what they had taken was free and still counted as ours.
"""

import asyncio
import contextlib
import ctypes
import weakref
from collections.abc import Callable
from typing import Final

MANY: Final = 100
"""TLS states freed after which a look at the heap is worth its milliseconds soon."""

PAUSE: Final = 2.0
"""Seconds that more of them are waited for."""

LONG_PAUSE: Final = 10.0
"""Seconds after which fewer are given back as well: the last of a thousand would stay for good otherwise."""


class FreedMemory:
    """Counts the TLS states that one loop's tunnels have freed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._freed = 0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "FreedMemory":
        """Return the loop's own."""
        known = _of_loops.get(loop)
        if known is None:
            known = _of_loops[loop] = FreedMemory(loop)
        return known

    def count(self) -> None:
        """Take note of one more."""
        self._freed += 1
        if self._freed == 1:
            self._give_back_after(LONG_PAUSE)
        elif self._freed == MANY:
            self._give_back_after(PAUSE)

    def _give_back_after(self, pause: float) -> None:
        loop = self._loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if loop is None else loop.call_later(pause, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        self._freed = 0
        trim_heap()


def _trimmer() -> Callable[[], object]:
    """Return what asks the C library for it: malloc_trim(3) of glibc, nothing elsewhere."""
    with contextlib.suppress(OSError, AttributeError):
        trim = ctypes.CDLL(None).malloc_trim
        return lambda: trim(0)
    return lambda: None


trim_heap: Final = _trimmer()

_of_loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FreedMemory]" = weakref.WeakKeyDictionary()
