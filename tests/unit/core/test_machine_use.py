"""The use of one machine by several workers: together never more than there is, whoever takes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.daily_bytes import DAY as SECONDS_OF_DAY
from arcgate.core.ledger import ARRIVAL, EDITION, PLACES, ROW, TUNNELS, Ledger
from arcgate.core.machine_use import SECOND, MachineUse
from arcgate.core.token_bucket import TokenBucket
from worlds.ledgers import lone_ledger, uses, workers

WORKERS = 3
which = st.integers(0, WORKERS - 1)


@given(st.integers(1, 6), st.lists(st.tuples(which, st.booleans()), max_size=60))
def test_tunnels_of_all_workers_together_are_never_more_than_the_most(most: int, steps: list[tuple[int, bool]]) -> None:
    parts, is_open = uses("m", workers(WORKERS)), [0] * WORKERS
    for number, opens in steps:
        if opens:
            assert parts[number].open_tunnel(most) == (sum(is_open) < most)
            if sum(is_open) < most:
                is_open[number] += 1
            else:
                parts[number].close_tunnel()
        elif is_open[number]:
            parts[number].close_tunnel()
            is_open[number] -= 1
        assert [part.own_tunnels for part in parts] == is_open


@given(st.integers(1, 50), st.lists(st.tuples(which, st.integers(0, SECOND)), max_size=80))
def test_set_ups_pass_as_they_do_by_one_bucket_whichever_workers_take_them(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    now = 10**15
    parts, bucket = uses("m", workers(WORKERS), now=now), TokenBucket(rate, rate, rate, now / SECOND)
    for number, pause in steps:
        now += pause
        left = bucket.fill(now / SECOND)
        passed = parts[number].take_set_up(rate, now)
        if abs(left - round(left)) > 1e-4:  # the bucket counts in fractions, we in nanoseconds
            assert passed == (left >= 1)
        if passed:
            bucket.take(1, now / SECOND)


@given(st.lists(st.tuples(which, st.integers(0, 1000), st.integers(0, SECONDS_OF_DAY // 4)), max_size=60))
def test_bytes_of_a_day_are_the_sum_of_all_workers(steps: list[tuple[int, int, int]]) -> None:
    parts, seconds, sums = uses("m", workers(WORKERS), seconds=1e9), int(1e9), dict[int, int]()
    for number, size, pause in steps:
        seconds += pause
        day = seconds // SECONDS_OF_DAY
        sums[day] = sums.get(day, 0) + size
        assert parts[number].carry(size, day) == sums[day]
        assert {part.carried(day) for part in parts} == {sums[day]}


def test_a_clock_that_steps_back_over_midnight_gives_no_second_day() -> None:
    first, second = uses("m", workers(2))
    first.carry(100, 10)
    assert second.carried(9) == 100
    assert first.carry(1, 9) == 101


def test_machines_do_not_share_anything() -> None:
    ledgers = workers(2)
    (one, _), (_, other) = uses("one", ledgers), uses("other", ledgers)
    assert one.open_tunnel(1)
    assert other.open_tunnel(1)
    one.carry(5, 1)
    assert other.carried(1) == 0


class Racing(Ledger):
    """The ledger of a worker that looked before we took a set-up, and takes one just after we have looked."""

    def __init__(self, arrival: int) -> None:
        super().__init__(memoryview(bytearray(8 * ROW)).cast("q"))
        self.looks, self.arrival = 0, arrival

    def find(self, key: int) -> int:
        self.looks += 1
        self.words[EDITION] += 1  # so that each look comes here
        if self.looks == 2:
            self.words[ROW - 1] = self.arrival
        return ROW - 1 - ARRIVAL


@pytest.mark.parametrize(("left", "passes"), [(1, False), (2, True)])
def test_of_two_workers_that_take_the_last_set_up_at_the_same_moment_not_both_get_it(left: int, passes: bool) -> None:
    own = lone_ledger()
    alone = MachineUse("m", own, ())
    assert alone.take_place(0, 0)
    assert all(alone.take_set_up(4, SECOND) for _ in range(4 - left))
    use = MachineUse("m", own, (Racing(SECOND + (4 - left + 1) * SECOND // 4),))
    assert use.take_place(0, 0)
    assert use.take_set_up(4, SECOND) == passes
    # Both were counted: with theirs and ours, nothing is left.
    assert [use.take_set_up(4, SECOND) for _ in range(2)] == [False, False]


def test_what_a_dead_worker_held_does_not_count() -> None:
    lives, dead = lone_ledger(), lone_ledger()
    (held,) = [MachineUse("m", dead, ())]
    held.take_place(0, 0)
    assert all(held.open_tunnel(2) for _ in range(2))
    held.carry(10, 5)
    use = MachineUse("m", lives, (dead,))
    assert use.take_place(0, 0)
    assert not use.open_tunnel(2)
    use.close_tunnel()
    dead.is_kept = lambda: False
    assert use.open_tunnel(2)
    assert use.open_tunnel(2)
    assert not use.open_tunnel(2)
    assert use.carried(5) == 10


def test_set_ups_from_before_a_reboot_do_not_count() -> None:
    first, second = uses("m", workers(2))
    assert first.take_set_up(1, 10**15)
    assert second.take_set_up(1, SECOND)


def test_a_machine_that_was_quiet_gives_up_its_row_and_takes_another_one() -> None:
    ledger = lone_ledger()
    use = MachineUse("m", ledger, ())
    use.take_place(0, 0)
    use.open_tunnel(1)
    use.close_tunnel()
    key = ledger.words[use._row]
    others = list[int]()
    for number in range(1, 40):
        if row := ledger.claim(key % PLACES + number * PLACES, 9, 0):
            ledger.words[row + TUNNELS] = 1
            others.append(row)
    assert use._row in others
    assert use.own_tunnels == 0
    assert not use.take_place(10, 0)
    assert [use.open_tunnel(1), use.open_tunnel(1)] == [True, False]  # by itself, but counted
    assert all(ledger.words[row + TUNNELS] == 1 for row in others)


def test_who_has_carried_lately_is_busy() -> None:
    first, second = uses("m", workers(2))
    assert first.count_busy(1000, 100) == 1
    assert second.count_busy(1050, 100) == 2
    assert second.count_busy(1200, 100) == 1
