"""A quota of bytes a day."""

from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.daily_bytes import DAY, DailyBytes, seconds_left
from worlds.ledgers import uses, workers


def make(most: int, count: int = 1) -> list[DailyBytes]:
    """Return the quota of one machine as each of some workers sees it."""
    return [DailyBytes(most, use) for use in uses("m", workers(count))]


def test_the_bytes_that_use_the_day_up_are_told_once_and_the_next_day_begins_anew() -> None:
    (daily,), noon = make(100), 20_000.5 * DAY
    assert [daily.spend(size, noon) for size in (60, 39, 1, 1, 500)] == [False, False, True, False, False]
    assert daily.is_used_up(noon)
    assert not daily.is_used_up(noon + DAY / 2)
    assert daily.spend(100, noon + DAY / 2)


def test_each_worker_tells_once_that_the_day_is_used_up_whoever_did_it() -> None:
    (first, second), noon = make(100, 2), 20_000.5 * DAY
    assert [first.spend(99, noon), second.spend(1, noon)] == [False, True]
    assert first.is_used_up(noon)
    assert [first.spend(1, noon), first.spend(1, noon), second.spend(1, noon)] == [True, False, False]


def test_a_clock_that_steps_back_over_midnight_gives_no_second_quota() -> None:
    (daily,) = make(100)
    daily.spend(100, 10 * DAY)
    assert daily.is_used_up(10 * DAY - 1)


@given(st.lists(st.tuples(st.integers(0, DAY // 3), st.integers(0, 100)), max_size=60))
def test_it_counts_as_a_sum_by_day_does(steps: list[tuple[int, int]]) -> None:
    (daily,), now, sums = make(150), 0, dict[int, int]()
    for pause, size in steps:
        now += pause
        before = sums.get(now // DAY, 0)
        sums[now // DAY] = before + size
        assert daily.spend(size, now) == (before < 150 <= before + size)
        assert daily.is_used_up(now) == (sums[now // DAY] >= 150)


@given(st.floats(0, 1e10))
def test_the_rest_of_the_day_ends_at_midnight(now: float) -> None:
    left = seconds_left(now)
    assert 1 <= left <= DAY
    assert (int(now) + left) % DAY == 0
