"""The event loop of the processes that carry tunnels: uvloop where it is installed, asyncio's own otherwise."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final

YOUNG_OBJECTS: Final = 20_000
"""Container objects made between two collections. A tunnel makes a hundred and leaves no cycles behind, so at the
usual 700 the collector would run every few tunnels and find nothing."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a service to its end, as `asyncio.run` does."""
    gc.collect()
    gc.freeze()  # what the imports made stays for good: no collection need look at it
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's loops, None where it is not installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
