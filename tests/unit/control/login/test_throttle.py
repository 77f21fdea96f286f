from datetime import UTC, datetime, timedelta

from arcgate.control.login.throttle import LIMIT, MOST_KEYS, WINDOW, Throttle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_is_refused_after_its_failures_and_forgiven_after_the_window() -> None:
    throttle = Throttle()
    for number in range(LIMIT):
        assert throttle.allows(NOW, "a")
        throttle.failed(NOW + timedelta(seconds=number), "a")
    late = NOW + timedelta(seconds=LIMIT)
    assert not throttle.allows(late, "a")
    assert throttle.allows(late, "b")
    assert throttle.allows(late, "a", LIMIT + 1)
    assert throttle.allows(NOW + WINDOW + timedelta(seconds=1), "a")


def test_success_forgives() -> None:
    throttle = Throttle()
    for _ in range(LIMIT):
        throttle.failed(NOW, "a")
    throttle.succeeded("a", "unknown")
    assert throttle.allows(NOW, "a")


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MOST_KEYS + 5):
        throttle.failed(NOW, f"k{number}")
    assert len(throttle._failures) == MOST_KEYS
    assert throttle.allows(NOW, "k0", 1)
    assert not throttle.allows(NOW, f"k{MOST_KEYS}", 1)
