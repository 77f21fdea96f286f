"""Back-off with jitter: the one answer to 'how long until the next try'."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that double from `first` to `longest`, each spread evenly over its upper half.

    `random` returns numbers in [0, 1); the spread keeps a thousand machines from coming back at once.
    """

    random: Callable[[], float]
    first: float = 1
    longest: float = 60
    _failures: int = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        delay = min(self.longest, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (0.5 + self.random() / 2)

    def reset(self) -> None:
        """Begin again at `first`: the last try went well."""
        self._failures = 0
