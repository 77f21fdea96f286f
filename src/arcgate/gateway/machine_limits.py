"""What one machine may have of a worker: tunnels open at once, and set-ups per second."""

from collections.abc import Callable
from dataclasses import dataclass

FORGET_ABOVE = 10_000
"""Machines that are remembered before those that have been quiet are forgotten."""


@dataclass(slots=True)
class _Use:
    """One machine's part: open tunnels, and set-ups that it has left at the moment `at`."""

    tunnels: int
    left: float
    at: float


class MachineLimits:
    """Counts by machine. A bucket holds the set-ups of one second, so that short bursts pass; `clock` is in seconds."""

    def __init__(self, most_tunnels: int, set_ups_per_second: int, clock: Callable[[], float]) -> None:
        self._most_tunnels = most_tunnels
        self._rate = set_ups_per_second
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def begin(self, machine: str) -> str:
        """Count a tunnel that begins; return why it must not, an empty string when it may.

        Whatever the answer, `end` follows when the tunnel has ended or was refused.
        """
        now = self._clock()
        use = self._uses.get(machine)
        if use is None:
            self._forget_quiet(now)
            use = self._uses[machine] = _Use(0, self._rate, now)
        use.tunnels += 1
        use.left = min(self._rate, use.left + (now - use.at) * self._rate)
        use.at = now
        if use.tunnels > self._most_tunnels:
            return f"this machine has {self._most_tunnels} tunnels open"
        if use.left < 1:
            return f"this machine opens more than {self._rate} tunnels a second"
        use.left -= 1
        return ""

    def end(self, machine: str) -> None:
        """Take note that a tunnel that was counted is no more."""
        self._uses[machine].tunnels -= 1

    def _forget_quiet(self, now: float) -> None:
        if len(self._uses) >= FORGET_ABOVE:
            self._uses = {name: use for name, use in self._uses.items() if use.tunnels or now - use.at < 1}
