"""A ledger: what machines use of one worker, in memory that the node's other workers can read.

Only its own worker writes it, so that nobody needs a lock. A machine has a row, found by a key; a row is free again
once nothing in it counts any more. Whoever reads remembers where a row is, until the ledger's edition has changed.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256

PLACES = 32_768
"""Machines that a ledger has rows for, about: more begin to find no free place."""
_WINDOW = 16
"""Places that a machine's row may have, one after the other."""
EDITION = 0
"""The word with a number that changes whenever a place gets another machine's row."""
_KEYS = 8
_ROWS = _KEYS + PLACES + _WINDOW
ROW = 8
"""Words of a row: a cache line, since the rows of two machines may be written and read at once."""
WORDS = _ROWS + (PLACES + _WINDOW) * ROW
"""64-bit words of a ledger."""

KEY, TUNNELS, ARRIVAL, DAY, CARRIED, BUSY = range(6)
"""What a row's words are: the machine's key; tunnels that are open; the time (ns) up to which set-ups are taken; the
day (since 1970) that bytes were last carried on, and how many on that day; when (ns) bytes were last carried."""


class Ledger:
    """Rows in `words`: WORDS signed 64-bit integers, all 0 at first. `is_kept` says whether its worker lives."""

    __slots__ = ("is_kept", "words")

    def __init__(self, words: memoryview, is_kept: Callable[[], bool] = lambda: True) -> None:
        self.words = words
        self.is_kept = is_kept

    def find(self, key: int) -> int:
        """Return where the row of a machine begins, 0 when it has none."""
        first = _first_place(key)
        keys = self.words[_KEYS + first : _KEYS + first + _WINDOW].tolist()
        return _ROWS + (first + keys.index(key)) * ROW if key in keys else 0

    def claim(self, key: int, now: int, day: int) -> int:
        """Return where the row of a machine begins, a fresh one if need be; 0 when no place is free."""
        row = self.find(key)
        if row:
            return row
        first = _first_place(key)
        places = range(first, first + _WINDOW)
        empty = (place for place in places if not self.words[_KEYS + place])
        place = next(empty, None)
        if place is None:
            place = next((one for one in places if self._is_quiet(one, now, day)), None)
        return 0 if place is None else self._begin_row(place, key)

    def begin_anew(self, day: int) -> None:
        """Give back what an earlier worker held: what remains are bytes carried on this day."""
        for place in self._places():
            row = _ROWS + place * ROW
            if self.words[row + DAY] == day and self.words[row + CARRIED]:
                for word in (TUNNELS, ARRIVAL, BUSY):
                    self.words[row + word] = 0
            else:
                self._empty(place)
        self.words[EDITION] += 1

    def _places(self) -> Iterator[int]:
        return (place for place, key in enumerate(self.words[_KEYS:_ROWS].tolist()) if key)

    def _is_quiet(self, place: int, now: int, day: int) -> bool:
        row = _ROWS + place * ROW
        has_carried = self.words[row + DAY] >= day and self.words[row + CARRIED]
        return not (self.words[row + TUNNELS] or has_carried or self.words[row + ARRIVAL] > now)

    def _begin_row(self, place: int, key: int) -> int:
        self._empty(place)
        row = _ROWS + place * ROW
        self.words[row + KEY] = key
        self.words[_KEYS + place] = key
        self.words[EDITION] += 1
        return row

    def _empty(self, place: int) -> None:
        self.words[_KEYS + place] = 0
        row = _ROWS + place * ROW
        for word in range(row, row + ROW):
            self.words[word] = 0


def key_of(machine: str) -> int:
    """Return the key of a machine's rows: never 0, and nobody finds another machine with the same one."""
    return int.from_bytes(sha256(machine.encode()).digest()[:8], "big", signed=True) or 1


def _first_place(key: int) -> int:
    return key % PLACES
