"""Delays between tries."""

import random

from hypothesis import given
from hypothesis import strategies as st

from arcgate.net.backoff import Backoff


def test_delays_double_to_the_longest_and_begin_again_after_a_success() -> None:
    backoff = Backoff(lambda: 1.0, first=1, longest=10)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.next() == 1


def test_delays_spread_over_their_upper_half() -> None:
    assert Backoff(lambda: 0.0, first=8, longest=60).next() == 4
    assert Backoff(lambda: 0.5, first=8, longest=60).next() == 6


@given(st.integers(0, 3000), st.integers(), st.floats(0.01, 10), st.floats(10, 1000))
def test_no_delay_leaves_its_bounds_however_many_failures_there_were(
    failures: int, seed: int, first: float, longest: float
) -> None:
    backoff = Backoff(random.Random(seed).random, first=first, longest=longest)
    for _ in range(failures):
        backoff.next()
    assert first / 2 <= backoff.next() <= longest
