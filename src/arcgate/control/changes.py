"""Wakes waiters inside this process when a topic has changed; the database stays the truth.

Topics: "entries" (any snapshot entry), "machine:<id>", "gateway:<prefix>", "endpointSets:<tenant id>",
"operation:<id>". A waiter takes a ticket, reads the database, and waits with the ticket: a change between
the two is not missed. What another node of the control plane changed comes in by the same `notify`
(arcgate.control.store.notices).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

ENTRIES = "entries"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The state of some topics at one moment."""

    counts: tuple[tuple[str, int], ...]


class Changes:
    """Topics with a count of their changes; belongs to one event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._everything = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False

    def ticket(self, *topics: str) -> Ticket:
        """Return the present state of the topics; take it before reading what you then wait to change."""
        return Ticket(tuple((topic, self._count(topic)) for topic in topics))

    def notify(self, topics: Iterable[str]) -> None:
        """Wake everybody who waits for one of the topics."""
        for topic in set(topics):
            self._counts[topic] = self._counts.get(topic, 0) + 1
            for waiter in self._waiting.pop(topic, ()):
                _wake(waiter)

    def notify_all(self) -> None:
        """Wake everybody: changes may have been missed."""
        self._everything += 1
        for topic in list(self._waiting):
            for waiter in self._waiting.pop(topic):
                _wake(waiter)

    async def wait(self, ticket: Ticket, timeout: float) -> bool:
        """Wait until a topic differs from the ticket; False after `timeout` seconds or when we shut down."""
        if self._has_news(ticket):
            return True
        if self._closed:
            return False
        waiter = asyncio.get_running_loop().create_future()
        topics = [topic for topic, _ in ticket.counts]
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._forget(waiter, topics)
        return self._has_news(ticket)

    def close(self) -> None:
        """Let every waiter return at once, now and later: the process shuts down."""
        self._closed = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                _wake(waiter)

    @property
    def is_closed(self) -> bool:
        """Whether the process shuts down."""
        return self._closed

    @property
    def waiters(self) -> int:
        """How many waits are under way (a wait for two topics counts twice)."""
        return sum(len(waiters) for waiters in self._waiting.values())

    def _has_news(self, ticket: Ticket) -> bool:
        return any(self._count(topic) != count for topic, count in ticket.counts)

    def _count(self, topic: str) -> int:
        return self._counts.get(topic, 0) + self._everything

    def _forget(self, waiter: asyncio.Future[None], topics: list[str]) -> None:
        for topic in topics:
            if (waiters := self._waiting.get(topic)) is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[topic]


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
