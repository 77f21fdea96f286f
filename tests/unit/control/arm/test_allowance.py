"""Buckets of requests: they run empty, fill steadily and are each somebody's own."""

from datetime import UTC, datetime, timedelta

from arcgate.control.arm import allowance
from arcgate.control.arm.allowance import Allowance

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_bucket_runs_empty_and_says_how_long_to_wait() -> None:
    bucket = Allowance()
    assert [bucket.take(NOW, "a", 3).remaining for _ in range(3)] == [2, 1, 0]
    left = bucket.take(NOW, "a", 3)
    assert (left.remaining, left.wait) == (0, 20)


def test_a_bucket_fills_steadily_and_not_above_its_brim() -> None:
    bucket = Allowance()
    for _ in range(60):
        bucket.take(NOW, "a", 60)
    assert bucket.take(NOW + timedelta(seconds=10), "a", 60).remaining == 9
    assert bucket.take(NOW + timedelta(hours=1), "a", 60).remaining == 59


def test_refused_requests_take_nothing() -> None:
    bucket = Allowance()
    bucket.take(NOW, "a", 1)
    waits = [bucket.take(NOW + timedelta(seconds=second), "a", 1).wait for second in (15, 30, 45)]
    assert waits == [45, 30, 15]


def test_each_key_has_a_bucket_of_its_own() -> None:
    bucket = Allowance()
    bucket.take(NOW, "a", 1)
    assert bucket.take(NOW, "b", 1).wait == 0


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = Allowance()
    bucket.take(NOW, "a", 60)
    assert bucket.take(NOW - timedelta(hours=1), "a", 60).remaining == 58


def test_there_is_an_end_to_the_buckets() -> None:
    bucket = Allowance()
    for number in range(allowance.MOST_BUCKETS + 10):
        bucket.take(NOW, str(number), 5)
    assert len(bucket._buckets) == allowance.MOST_BUCKETS
