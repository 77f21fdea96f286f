"""The ledger: each machine finds its own row, and a row is another's only when nothing in it counts any more."""

from arcgate.core.ledger import ARRIVAL, BUSY, CARRIED, DAY, EDITION, PLACES, TUNNELS, key_of
from worlds.ledgers import lone_ledger

CROWD = [1 + number * PLACES for number in range(40)]
"""Keys that all want the same places."""


def test_machines_have_rows_of_their_own_and_find_them_again() -> None:
    ledger, names = lone_ledger(), [f"machine {number}" for number in range(200)]
    rows = [ledger.claim(key_of(name), 0, 0) for name in names]
    assert len(set(rows)) == 200
    assert 0 not in rows
    assert [ledger.find(key_of(name)) for name in names] == rows
    assert [ledger.claim(key_of(name), 0, 0) for name in names] == rows
    assert ledger.find(key_of("another")) == 0


def test_who_reads_sees_by_the_edition_that_rows_have_changed() -> None:
    ledger = lone_ledger()
    before = ledger.words[EDITION]
    ledger.claim(5, 0, 0)
    after = ledger.words[EDITION]
    ledger.claim(5, 0, 0)
    assert before != after == ledger.words[EDITION]


def test_a_row_in_which_something_counts_is_nobody_elses_and_the_rest_find_no_place() -> None:
    ledger, day, rows = lone_ledger(), 100, list[int]()
    for key, (word, value) in zip(CROWD, [(TUNNELS, 1), (ARRIVAL, 51), (CARRIED, 1)] * 20, strict=False):
        if row := ledger.claim(key, 50, day):
            ledger.words[row + word], ledger.words[row + DAY] = value, day
            rows.append(row)
    assert len(rows) == len(set(rows)) < len(CROWD)
    assert ledger.claim(1 + 99 * PLACES, 50, day) == 0
    ledger.words[rows[0] + TUNNELS] = 0
    assert ledger.claim(1 + 99 * PLACES, 50, day) == rows[0]
    assert ledger.find(CROWD[0]) == 0


def test_bytes_of_yesterday_and_set_ups_of_earlier_keep_no_row() -> None:
    ledger = lone_ledger()
    for key in CROWD:
        if row := ledger.claim(key, 50, 100):
            ledger.words[row + ARRIVAL], ledger.words[row + DAY], ledger.words[row + CARRIED] = 50, 99, 7
    row = ledger.claim(1 + 99 * PLACES, 50, 100)
    assert row
    assert ledger.words[row + CARRIED] == 0


def test_a_successor_keeps_the_days_bytes_and_nothing_else() -> None:
    ledger = lone_ledger()
    today, earlier, later, idle = (ledger.claim(key, 0, 100) for key in (1, 2, 3, 4))
    for row, day in ((today, 100), (earlier, 99), (later, 101)):
        ledger.words[row + DAY], ledger.words[row + CARRIED] = day, 1000
    for word in (TUNNELS, ARRIVAL, BUSY):
        ledger.words[today + word] = ledger.words[idle + word] = 5
    edition = ledger.words[EDITION]
    ledger.begin_anew(100)
    assert [ledger.find(key) for key in (1, 2, 3, 4)] == [today, 0, 0, 0]
    assert [ledger.words[today + word] for word in (TUNNELS, ARRIVAL, DAY, CARRIED, BUSY)] == [0, 0, 100, 1000, 0]
    assert ledger.words[EDITION] != edition


def test_a_key_is_never_what_an_empty_place_has() -> None:
    keys = [key_of(f"machine {number}") for number in range(1000)]
    assert 0 not in keys
    assert len(set(keys)) == 1000
    assert max(map(abs, keys)) < 2**63
