"""The one way to start a task: it has a name, is referenced until it ends, and a crash of it is logged."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from arcgate.core.errors import ArcgateError
from arcgate.net.backoff import Backoff

_log = structlog.get_logger(__name__)
_running: set[asyncio.Task[Any]] = set()

Result = TypeVar("Result")


def spawn(name: str, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Start `work` as a task of the running loop."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def repeat(what: str, step: Callable[[], Awaitable[float]], backoff: Backoff) -> None:
    """Do steps for as long as it runs; each returns the seconds to pause after it.

    No failure ends it, be it the network's, a full disk's or a defect of ours: it is logged, and tried again later.
    """
    while True:
        try:
            pause = await step()
            backoff.reset()
        except (ArcgateError, OSError) as error:
            pause = backoff.next()
            cause = error.one_line() if isinstance(error, ArcgateError) else str(error)
            _log.warning("failed, trying again", what=what, cause=cause, pause=round(pause, 1))
        except Exception:
            pause = backoff.next()
            _log.exception("a step failed", what=what)
        await asyncio.sleep(pause)


class Share:
    """Gives the loop's other tasks a turn after `size` bytes: a socket that is always ready never waits by itself."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size

    async def spend(self, size: int) -> None:
        """Count bytes; let the others go on when the share is used up."""
        self._left -= size
        if self._left <= 0:
            self._left = self._size
            await asyncio.sleep(0)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended; their own errors have been logged already."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task crashed", task=task.get_name(), exc_info=error)
