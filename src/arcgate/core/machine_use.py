"""What one machine uses of a node: this worker's own row, and the rows of the others beside it.

Whoever takes something writes it into its own row first, then looks at the others': of two who do so at the same moment
both see each other, so that together they never take more than there is. They may both go without the last one.
"""

from collections.abc import Sequence

from arcgate.core.daily_bytes import DAY as SECONDS_OF_DAY
from arcgate.core.ledger import ARRIVAL, BUSY, CARRIED, DAY, EDITION, KEY, ROW, TUNNELS, Ledger, key_of

SECOND = 1_000_000_000
"""Nanoseconds."""


class MachineUse:
    """The use of one machine. `own` is this worker's ledger; `now` is a steady clock in ns, the same for all workers.

    Where its ledger has no place left, a machine has a row that no other worker sees.
    """

    __slots__ = ("_beside", "_editions", "_key", "_others", "_own", "_row", "_words")

    def __init__(self, machine: str, own: Ledger, others: Sequence[Ledger]) -> None:
        self._key = key_of(machine)
        self._own = own
        self._others = others
        self._words, self._row = _lone_row(0), 0
        self._beside: list[tuple[memoryview, int, Ledger]] = []
        self._editions: list[int] = []

    def take_place(self, now: int, seconds: float) -> bool:
        """Make sure of a row before anything is counted; say whether others see it. `seconds` are since 1970."""
        if self._words[self._row + KEY] != self._key:
            self._words, self._row = self._own.words, self._own.claim(self._key, now, int(seconds) // SECONDS_OF_DAY)
            if not self._row:
                self._words = _lone_row(self._key)
        return self._words is self._own.words

    @property
    def own_tunnels(self) -> int:
        """Tunnels that are open in this worker."""
        # Without tunnels, our row may have become another machine's.
        is_ours = self._words[self._row + KEY] == self._key
        return self._words[self._row + TUNNELS] if is_ours else 0

    def open_tunnel(self, most: int) -> bool:
        """Count a tunnel, whatever the answer; say whether there are not more than `most` in all workers."""
        place = self._row + TUNNELS
        total = self._words[place] = self._words[place] + 1
        if self._others:
            for words, row, _ in self._rows_beside():
                total += words[row + TUNNELS]
        return bool(total <= most) or self._kept_tunnels() <= most

    def close_tunnel(self) -> None:
        """Take note that a tunnel that was counted is no more."""
        self._words[self._row + TUNNELS] -= 1

    def take_set_up(self, rate: int, now: int) -> bool:
        """Take one of `rate` set-ups a second if there is one; those of one second may come at once."""
        place, step = self._row + ARRIVAL, SECOND // rate
        before = self._words[place]
        latest = max(now, before, self._latest_beside(now) if self._others else 0)
        if latest + step > now + SECOND:
            return False
        self._words[place] = latest + step
        if not self._others or (again := self._latest_beside(now)) <= latest:
            return True
        # Another worker has taken one at the same moment.
        may = again + step <= now + SECOND
        self._words[place] = again + step if may else before
        return may

    def carry(self, size: int, day: int) -> int:
        """Count bytes of a day (since 1970), and return all of that day; one before the newest day counts as that."""
        place = self._row + CARRIED
        if day > self._words[self._row + DAY]:
            self._words[place] = 0
            self._words[self._row + DAY] = day
        total: int = self._words[place] + size
        self._words[place] = total
        return total + self._carried_beside(day) if self._others else total

    def carried(self, day: int) -> int:
        """Return the bytes of a day, or of a later one that was counted already."""
        own: int = self._words[self._row + CARRIED] if self._words[self._row + DAY] >= day else 0
        return own + self._carried_beside(day)

    def count_busy(self, now: int, quiet: int) -> int:
        """Take note that bytes are carried here; return in how many workers they were within `quiet` ns."""
        self._words[self._row + BUSY] = now
        return 1 + sum(abs(now - words[row + BUSY]) < quiet for words, row, _ in self._rows_beside())

    def _carried_beside(self, day: int) -> int:
        total = 0
        for words, row, _ in self._rows_beside():
            if words[row + DAY] >= day:
                total += words[row + CARRIED]
        return total

    def _latest_beside(self, now: int) -> int:
        """Return the latest arrival of the others; what lies more than a second ahead is from before a reboot."""
        latest = 0
        for words, row, _ in self._rows_beside():
            arrival = words[row + ARRIVAL]
            if latest < arrival <= now + 2 * SECOND:
                latest = arrival
        return latest

    def _kept_tunnels(self) -> int:
        """Return the tunnels of all workers that live: what a dead one held doesn't count."""
        total = self.own_tunnels
        for words, row, other in self._rows_beside():
            if words[row + TUNNELS] and other.is_kept():
                total += words[row + TUNNELS]
        return total

    def _rows_beside(self) -> list[tuple[memoryview, int, Ledger]]:
        editions = [other.words[EDITION] for other in self._others]
        if editions != self._editions:
            found = ((other.words, other.find(self._key), other) for other in self._others)
            self._beside, self._editions = [one for one in found if one[1]], editions
        return self._beside


def _lone_row(key: int) -> memoryview:
    """Return a row of zeros that no other worker sees."""
    words = memoryview(bytearray(8 * ROW)).cast("q")
    words[KEY] = key
    return words
