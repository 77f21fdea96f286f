"""What is remembered of names: addresses for their TTL, and for a while that there are none (RFC 2308).

Time is an argument, in seconds of any steady clock. Remembered addresses are nothing but addresses: the policy
decides about them anew each time.
"""

from collections import OrderedDict
from dataclasses import dataclass

from arcgate.core.names import Address, HostName

HOT = 3
"""Times that a name must have been asked for to be looked up again before its addresses have aged."""

REFRESH_AT = 0.8
"""Part of its life after which a hot name is looked up again."""

REFRESH_RETRY = 1.0
"""Seconds before a look-up in the background that failed is tried again."""


@dataclass(frozen=True, slots=True)
class Lives:
    """For how long things are remembered, in seconds, and for how many names."""

    least: float
    most: float
    negative: float
    names: int


@dataclass(slots=True)
class Remembered:
    """What is known of a name: its addresses, or else the reason why there are none."""

    addresses: tuple[Address, ...]
    failure: str
    ends: float
    refresh_at: float
    asked: int = 0
    preferred: Address | None = None
    """The address that answered when one before it did not."""

    def is_due(self, now: float) -> bool:
        """Say whether it should be looked up again while it still serves."""
        return self.asked >= HOT and now >= self.refresh_at and not self.failure


class NameCache:
    """Remembers the names that were asked for last."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._names: OrderedDict[HostName, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def look_up(self, host: HostName, now: float) -> Remembered | None:
        """Return what is remembered, None when that is nothing or has aged; counts as asking for it."""
        found = self._names.get(host)
        if found is None:
            return None
        if now >= found.ends:
            del self._names[host]
            return None
        found.asked += 1
        self._names.move_to_end(host)
        return found

    def remember(self, host: HostName, addresses: tuple[Address, ...], ttl: float, now: float) -> Remembered:
        """Take in the addresses of a name; return what is known of it now."""
        life = min(max(ttl, self._lives.least), self._lives.most)
        before = self._names.get(host)
        preferred = before.preferred if before is not None and before.preferred in addresses else None
        if preferred is not None:
            addresses = _with_first(addresses, preferred)
        known = Remembered(addresses, "", now + life, now + life * REFRESH_AT, preferred=preferred)
        return self._put(host, known, now)

    def remember_failure(self, host: HostName, reason: str, ttl: float, now: float) -> Remembered:
        """Take in that a name has no addresses; return what is known of it now."""
        ends = now + min(ttl, self._lives.negative)
        return self._put(host, Remembered((), reason, ends, ends), now)

    def prefer(self, host: HostName, address: Address) -> None:
        """Put an address of a name first, since it answered before the others (RFC 8305 section 4)."""
        known = self._names.get(host)
        if known is not None and address in known.addresses:
            known.preferred = address
            known.addresses = _with_first(known.addresses, address)

    def refresh_failed(self, host: HostName, now: float) -> None:
        """Take note that a look-up in the background gave nothing: what is remembered serves to its end."""
        if (found := self._names.get(host)) is not None:
            found.refresh_at = now + REFRESH_RETRY

    def _put(self, host: HostName, known: Remembered, now: float) -> Remembered:
        self._names.pop(host, None)
        if known.ends > now and self._lives.names:
            self._names[host] = known
            if len(self._names) > self._lives.names:
                self._names.popitem(last=False)
        return known


def _with_first(addresses: tuple[Address, ...], first: Address) -> tuple[Address, ...]:
    return (first, *(address for address in addresses if address != first))
