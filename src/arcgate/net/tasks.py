"""The one way to start a task: it has a name, is referenced until it ends, and a crash of it is logged."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

_log = structlog.get_logger(__name__)
_running: set[asyncio.Task[Any]] = set()

Result = TypeVar("Result")


def spawn(name: str, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Start `work` as a task of the running loop."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended; their own errors have been logged already."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task crashed", task=task.get_name(), exc_info=error)
