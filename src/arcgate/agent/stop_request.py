"""The wish that a service ends: by a signal, or by the manager of services from a thread of its own."""

import asyncio
import contextlib
import signal
import threading


class StopRequest:
    """Made once for a process; may be asked for before the event loop runs, and any number of times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._was_asked = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def ask(self) -> None:
        """Ask the service to end; from any thread."""
        with self._lock:
            self._was_asked = True
            waiting = self._waiting
        if waiting is not None:
            loop, event = waiting
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                loop.call_soon_threadsafe(event.set)

    def attach(self) -> asyncio.Event:
        """Return the event of the running loop that is set by SIGTERM, SIGINT and `ask`."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Windows' loops have no signal handlers; its manager of services asks instead.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, event.set)
        with self._lock:
            self._waiting = loop, event
            if self._was_asked:
                event.set()
        return event
