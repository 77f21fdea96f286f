"""When credentials that a proxy has refused may be sent to it again: after pauses that grow. Pure.

Domains count wrong passwords and lock the account, often at the fifth within a quarter of an hour: four of these tries
fit into one. `net.credential_turns` asks before anything is sent.
"""

from dataclasses import dataclass, field

FIRST = 30.0
"""Seconds after the first refusal."""
GROWTH = 4
"""How much longer each further pause is."""
LONGEST = 1800.0
"""Seconds that a pause takes at most."""
MOST_TARGETS = 256
"""Targets that are remembered as refused by themselves, for each proxy and credentials."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often credentials were refused in a row, and the last time (seconds since 1970)."""

    count: int = 0
    moment: float = 0.0

    @property
    def end(self) -> float:
        """When the pause is over; 0 without one."""
        if self.count == 0:
            return 0.0
        return self.moment + min(LONGEST, FIRST * float(GROWTH) ** min(self.count - 1, 16))

    def is_pause(self, now: float) -> bool:
        """Whether nothing may be sent now; a clock that was set back ends the pause instead of stretching it."""
        return self.moment <= now < self.end

    def another(self, now: float) -> "Refusals":
        """Return what one more refusal makes of it."""
        return Refusals(self.count + 1, now)


@dataclass(slots=True)
class CredentialRecord:
    """What one proxy makes of one user's credentials.

    Some proxies answer 407 also to a right password, when its user may not reach the target. So where the credentials
    were accepted before, a refusal counts for its target alone, until a second one follows without success in between.
    """

    everything: Refusals = field(default_factory=Refusals)
    """Refusals that count for all targets."""
    is_proven: bool = False
    """Whether the proxy accepted them the last time; else they are sent for one request at a time."""
    _last_refused: str = ""
    _targets: dict[str, Refusals] = field(default_factory=dict)

    def next_try(self, target: str, now: float) -> float:
        """Return when the credentials may be sent again for the target, 0 for at once."""
        found = self.everything.end
        if found and self._last_refused == target:
            found += FIRST  # others go first: the proxy may only forbid this one
        if not self.everything.moment <= now < found:
            found = 0.0
        own = self._targets.get(target, Refusals())
        return max(found, own.end) if own.is_pause(now) else found

    def refused(self, target: str, began: float, now: float) -> bool:
        """Note a refusal of what was sent at `began`; say whether it counts for all targets."""
        own = self._targets.pop(target, Refusals())
        if began < max(own.moment, self.everything.moment) <= now:
            if own.count:
                self._targets[target] = own
            return False  # it was on its way already when the other one was refused
        if not self.is_proven:
            self._last_refused = target
            return True
        self.is_proven = False
        while len(self._targets) >= MOST_TARGETS:
            self._targets.pop(next(iter(self._targets)))
        self._targets[target] = own.another(now)
        return False

    def accepted(self, target: str) -> None:
        """Note that the proxy took them."""
        self.everything, self.is_proven, self._last_refused = Refusals(), True, ""
        self._targets.pop(target, None)
