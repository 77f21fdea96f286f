"""The token bucket: never more than its rate and its burst, whatever is taken and when."""

from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.token_bucket import TokenBucket

steps = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10_000)), max_size=50)


@given(st.integers(1, 1000), st.integers(1, 1000), steps)
def test_whoever_takes_only_while_there_is_some_gets_at_most_the_burst_the_rate_and_one_piece(
    rate: int, most: int, taken: list[tuple[float, int]]
) -> None:
    bucket, now, passed, largest = TokenBucket(rate, most, most, 0), 0.0, 0, 0
    for pause, size in taken:
        now += pause
        if bucket.fill(now) > 0:
            bucket.take(size, now)
            passed, largest = passed + size, max(largest, size)
        assert passed <= most + rate * now + largest + 1e-6 * (passed + 1)


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 100_000))
def test_after_the_pause_it_is_not_overdrawn_and_a_moment_earlier_it_is(rate: int, most: int, size: int) -> None:
    bucket = TokenBucket(rate, most, most, 5)
    bucket.take(size, 5)
    pause = bucket.pause(5)
    assert (pause > 0) == (size > most)
    early = TokenBucket(rate, most, bucket.left, 5)
    assert bucket.fill(5 + pause) > -1e-6
    if pause:
        assert early.fill(5 + pause * 0.9) < 0


def test_it_holds_no_more_than_its_burst_and_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 20, 20, 0)
    assert bucket.fill(1000) == 20
    bucket.take(20, 1000)
    assert bucket.fill(990) == 0
    assert bucket.fill(1001) == 10
