"""A resolver that remembers: one look-up at a time for a name, and names that are asked for often wait for none."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from arcgate.core.errors import HopError
from arcgate.core.name_cache import NameCache, Remembered
from arcgate.core.names import Address, HostName
from arcgate.net.resolver import FAILURE_LIFE, Found, NotResolved
from arcgate.net.tasks import cancel, spawn


class Finder(Protocol):
    """Asks DNS each time."""

    def fixed(self, host: HostName) -> list[Address]:
        """Return the addresses that need no DNS, none when there are none."""
        ...

    async def find(self, host: HostName) -> Found:
        """Return what DNS says of a name; raises HopError."""
        ...


class CachingResolver:
    """A Resolver over another one. At most `most_at_once` names are looked up together, others wait for their turn.

    A look-up goes on when whoever asked has gone: the next one will ask again.
    """

    def __init__(self, finder: Finder, cache: NameCache, *, most_at_once: int, clock: Callable[[], float]) -> None:
        self._finder = finder
        self._cache = cache
        self._clock = clock
        self._most_at_once = most_at_once
        self._turns = asyncio.Semaphore(most_at_once)
        self._running: dict[HostName, asyncio.Task[Remembered]] = {}

    async def resolve(self, host: HostName) -> list[Address]:
        """See Resolver."""
        if fixed := self._finder.fixed(host):
            return fixed
        now = self._clock()
        known = self._cache.look_up(host, now)
        if known is None:
            known = await asyncio.shield(self._look_up(host))
        elif known.is_due(now) and len(self._running) < self._most_at_once:
            self._look_up(host)
        if known.failure:
            raise NotResolved(host, known.failure, 0, is_definite=True)
        return list(known.addresses)

    def prefer(self, host: HostName, address: Address) -> None:
        """Give an address of the name first from now on: it could be reached when others could not."""
        self._cache.prefer(host, address)

    async def close(self) -> None:
        """Give up the look-ups that are under way."""
        await cancel(*self._running.values())

    def _look_up(self, host: HostName) -> "asyncio.Task[Remembered]":
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = spawn(f"look up {host}", self._find(host))
            task.add_done_callback(lambda _: self._running.pop(host, None))
        return task

    async def _find(self, host: HostName) -> Remembered:
        try:
            async with self._turns:
                found = await self._finder.find(host)
        except HopError as error:
            return self._take_failure(host, error)
        return self._cache.remember(host, found.addresses, found.ttl, self._clock())

    def _take_failure(self, host: HostName, error: HopError) -> Remembered:
        ttl, is_definite = (error.ttl, error.is_definite) if isinstance(error, NotResolved) else (FAILURE_LIFE, False)
        now = self._clock()
        known = self._cache.look_up(host, now)
        if known is not None and not known.failure and not is_definite:
            self._cache.refresh_failed(host, now)
            return known
        return self._cache.remember_failure(host, error.cause or error.sentence, ttl, now)
