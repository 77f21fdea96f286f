"""Slows guessing: counts failures by key in a window of time, and says when to stop listening.

Counts are kept in memory: a restart forgives, and each node of the control plane counts its own.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

MOST_KEYS = 100_000
"""Keys that are remembered; the oldest are forgotten first."""


class Throttle:
    """Failures by key; a key may fail `limit` times within `window` seconds."""

    def __init__(self, clock: Callable[[], datetime], limit: int = 10, window: float = 300) -> None:
        self._clock = clock
        self._limit = limit
        self._window = timedelta(seconds=window)
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()

    def allows(self, *keys: str) -> bool:
        """Say whether none of the keys has failed too often."""
        return all(len(self._recent(key)) < self._limit for key in keys)

    def failed(self, *keys: str) -> None:
        """Note a failure of each key."""
        for key in keys:
            self._failures[key] = [*self._recent(key), self._clock()][-self._limit :]
            self._failures.move_to_end(key)
        while len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of the keys."""
        for key in keys:
            self._failures.pop(key, None)

    def _recent(self, key: str) -> list[datetime]:
        oldest = self._clock() - self._window
        return [moment for moment in self._failures.get(key, ()) if moment > oldest]
