"""A token bucket: so many a second, with a burst; it may be overdrawn, and then nothing passes until that is made good.

Overdrawing is for bytes: how many there are is known only once they have been taken.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Holds `left` tokens at the moment `at` (seconds of any steady clock); begin it full."""

    rate: float
    """Tokens a second, above 0."""
    most: float
    """Tokens that it holds when it is full."""
    left: float
    at: float

    def fill(self, now: float) -> float:
        """Take note of the time that has passed; return the tokens that are left, below 0 while it is overdrawn."""
        if now > self.at:
            self.left = min(self.most, self.left + (now - self.at) * self.rate)
            self.at = now
        return self.left

    def take(self, count: float, now: float) -> None:
        """Take tokens, more than there are if need be."""
        self.fill(now)
        self.left -= count

    def pause(self, now: float) -> float:
        """Return the seconds until the bucket is no longer overdrawn, 0 when it isn't."""
        return max(0.0, -self.fill(now) / self.rate)
