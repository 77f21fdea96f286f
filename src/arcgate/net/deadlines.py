"""Deadlines without a timer each: as `asyncio.timeout`, but looked at by the loop's sweep."""

import asyncio
from types import TracebackType
from typing import Any

from arcgate.net.sweep import Sweep


class within:  # noqa: N801 - it reads as a word of the language, like asyncio.timeout
    """Raise TimeoutError from the block when it takes longer than `seconds`, at most a second or an eighth longer.

    asyncio.timeout costs a timer and an object of its own for each use; this one is for steps of every tunnel.
    """

    __slots__ = ("_cancelling", "_due", "_has_expired", "_seconds", "_sweep", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._has_expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._due = loop.time() + self._seconds
        self._sweep = Sweep.of(loop)
        self._sweep.add(self, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._sweep.discard(self)
        if self._has_expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError

    def look(self, now: float) -> None:
        """See Watched."""
        if now >= self._due and not self._has_expired:
            self._has_expired = True
            self._task.cancel()
