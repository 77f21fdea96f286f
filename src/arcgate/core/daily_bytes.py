"""A quota of bytes for each day, in UTC."""

from dataclasses import dataclass

DAY = 86_400
"""Seconds."""


@dataclass(slots=True)
class DailyBytes:
    """What has been used of `most` bytes on the day that is counted. Times are in seconds since 1970."""

    most: int
    used: int = 0
    day: int = 0

    def spend(self, size: int, now: float) -> bool:
        """Count bytes; say whether these are the ones that used the day up."""
        was_used_up = self.is_used_up(now)
        self.used += size
        return self.used >= self.most and not was_used_up

    def is_used_up(self, now: float) -> bool:
        """Say whether nothing is left for today."""
        if int(now) // DAY > self.day:
            self.day, self.used = int(now) // DAY, 0
        return self.used >= self.most


def seconds_left(now: float) -> int:
    """Return the seconds until the next day begins, at least 1."""
    return DAY - int(now) % DAY
