"""Readiness of sockets: one edge-triggered epoll set of our own, hung as a single descriptor into the event loop.

A socket is registered once for its whole life, where asyncio's `sock_recv` changes the loop's set twice for
every wait. A report is a hint: whoever waits tries again, so one that is late, doubled, or meant for an
earlier owner of the same descriptor does no harm.
"""

import asyncio
import select
import weakref
from typing import Final, Protocol

MOST_REPORTS: Final = 512
"""Reports taken from the kernel in one turn of the loop."""

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_WITHOUT_READING = select.EPOLLOUT | select.EPOLLET
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class Stepped(Protocol):
    """What does its work in steps. It is kept as it is: a bound method of it would be an object more."""

    def step(self) -> None:
        """Do what can be done now."""
        ...


class Readiness:
    """What one registered socket waits for: at most one task in each direction, or else callbacks.

    `on_readable` and `on_writable` take a step straight from the report while no task waits: a tunnel costs
    neither tasks nor futures that way. They must not raise.
    """

    __slots__ = ("_descriptor", "_poller", "_reader", "_writer", "on_readable", "on_writable")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.on_readable: Stepped | None = None
        self.on_writable: Stepped | None = None
        self._poller = _poller_of(asyncio.get_running_loop())
        self._poller.register(descriptor, self)

    async def readable(self) -> None:
        """Wait until reading is worth a try; only after a try that would have blocked."""
        assert self._reader is None, "two tasks read from one socket"
        self._reader = self._poller.loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def writable(self) -> None:
        """Wait until writing is worth a try; only after a try that would have blocked."""
        assert self._writer is None, "two tasks write to one socket"
        self._writer = self._poller.loop.create_future()
        try:
            await self._writer
        finally:
            self._writer = None

    def pause_reading(self) -> None:
        """Report nothing of what arrives until `resume_reading`, for while it can't be passed on."""
        self._poller.watch(self._descriptor, self, _WITHOUT_READING)

    def resume_reading(self) -> None:
        """Report arrivals again, what came meanwhile included."""
        self._poller.watch(self._descriptor, self, _EVENTS)

    def report(self, events: int) -> None:
        """Wake who waits for these events."""
        if events & _READ:
            _wake(self._reader, self.on_readable)
        if events & _WRITE:
            _wake(self._writer, self.on_writable)

    def close(self) -> None:
        """Let go of the socket; call it just before the descriptor is closed."""
        self.on_readable = self.on_writable = None
        self._poller.unregister(self._descriptor, self)

    def forget(self) -> None:
        """Let go of a socket that stays open."""
        self._poller.remove(self._descriptor, self)


def _wake(waiting: "asyncio.Future[None] | None", stepped: Stepped | None) -> None:
    if waiting is not None:
        if not waiting.done():
            waiting.set_result(None)
    elif stepped is not None:
        stepped.step()


class _Poller:
    """The epoll set of one loop. It exists only while sockets are registered, so it needs no closing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._registered: dict[int, Readiness] = {}
        self._epoll: select.epoll | None = None

    def register(self, descriptor: int, readiness: Readiness) -> None:
        if self._epoll is None:
            self._epoll = select.epoll()
            self.loop.add_reader(self._epoll.fileno(), self._dispatch)
        self._registered[descriptor] = readiness
        self._epoll.register(descriptor, _EVENTS)

    def watch(self, descriptor: int, readiness: Readiness, events: int) -> None:
        if self._epoll is not None and self._registered.get(descriptor) is readiness:
            self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int, readiness: Readiness) -> None:
        if self._epoll is not None and self._registered.get(descriptor) is readiness:
            self._epoll.unregister(descriptor)
            self.unregister(descriptor, readiness)

    def unregister(self, descriptor: int, readiness: Readiness) -> None:
        if self._epoll is None or self._registered.get(descriptor) is not readiness:
            return
        del self._registered[descriptor]  # the kernel's set loses it when it is closed, without a call of its own
        if not self._registered:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _dispatch(self) -> None:
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0, MOST_REPORTS):
            if (readiness := self._registered.get(descriptor)) is not None:
                readiness.report(events)


_pollers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Poller]" = weakref.WeakKeyDictionary()


def _poller_of(loop: asyncio.AbstractEventLoop) -> _Poller:
    poller = _pollers.get(loop)
    if poller is None:
        poller = _pollers[loop] = _Poller(loop)
    return poller
