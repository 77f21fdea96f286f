"""Slows guessing: counts failures by key in a window of time, and says when to stop listening.

Counts are kept in memory: a restart forgives, and each node of the control plane counts its own.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

MOST_KEYS = 100_000
"""Keys that are remembered; the oldest are forgotten first."""
LIMIT = 10
"""Failures of one account, client or caller within the window."""
ADDRESS_LIMIT = 50
"""Failures from one address within the window; many people may stand behind one."""
SHARED_ADDRESS_LIMIT = 1000
"""... from the address of our own front end, behind which everybody stands."""
WINDOW = timedelta(minutes=5)


class Throttle:
    """Failures by key."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()

    def allows(self, now: datetime, key: str, limit: int = LIMIT) -> bool:
        """Say whether the key has failed less than `limit` times within the window."""
        return len(self._recent(now, key)) < limit

    def failed(self, now: datetime, *keys: str) -> None:
        """Note a failure of each key."""
        for key in keys:
            self._failures[key] = [*self._recent(now, key), now][-SHARED_ADDRESS_LIMIT:]
            self._failures.move_to_end(key)
        while len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of the keys."""
        for key in keys:
            self._failures.pop(key, None)

    def _recent(self, now: datetime, key: str) -> list[datetime]:
        oldest = now - WINDOW
        return [moment for moment in self._failures.get(key, ()) if moment > oldest]
