"""A quota of bytes for each day, in UTC."""

from typing import Protocol

DAY = 86_400
"""Seconds."""


class DailyCount(Protocol):
    """Counts bytes by day (whole days since 1970), wherever they are carried."""

    def carry(self, size: int, day: int) -> int:
        """Count bytes; return what `carried` does."""
        ...

    def carried(self, day: int) -> int:
        """Return the bytes that were counted on a day, or on a later one if the clock has stepped back."""
        ...


class DailyBytes:
    """What may be carried on a day: `most` bytes of a count. Times are in seconds since 1970."""

    def __init__(self, most: int, count: DailyCount) -> None:
        self.most = most
        self._count = count
        self._told = -1
        """The day whose end of bytes was told."""

    def spend(self, size: int, now: float) -> bool:
        """Count bytes; say whether none are left, once on a day."""
        day = int(now) // DAY
        if self._count.carry(size, day) < self.most or day <= self._told:
            return False
        self._told = day
        return True

    def is_used_up(self, now: float) -> bool:
        """Say whether nothing is left for today."""
        return self._count.carried(int(now) // DAY) >= self.most


def seconds_left(now: float) -> int:
    """Return the seconds until the next day begins, at least 1."""
    return DAY - int(now) % DAY
