"""How many requests a principal has left: a bucket for each kind of request and subscription, filled steadily.

Kept in memory: each node of the control plane counts its own, and a restart fills all buckets. Pure.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

MOST_BUCKETS = 50_000
"""Buckets that are remembered; the one that was not used for longest is forgotten first, and so full again."""


@dataclass(frozen=True, slots=True)
class Left:
    """What remains after a request, or the whole seconds to wait when there was nothing left for it."""

    remaining: int
    wait: int = 0


class Allowance:
    """Buckets by key."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def take(self, now: datetime, key: str, per_minute: int) -> Left:
        """Take one request out of the key's bucket, which holds `per_minute` and fills within a minute."""
        level, since = self._buckets.get(key, (float(per_minute), now))
        rate = per_minute / 60
        level = min(per_minute, level + max(0.0, (now - since).total_seconds()) * rate)
        is_allowed = level >= 1
        self._buckets[key] = (level - 1 if is_allowed else level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return Left(int(level - 1)) if is_allowed else Left(0, math.ceil((1 - level) / rate))
