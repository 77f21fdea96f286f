"""What is said of a clock that is wrong."""

import pytest

from arcgate.core.clock_skew import describe_skew


@pytest.mark.parametrize(
    ("offset", "words"),
    [(75, "75 seconds slow"), (-600, "10 minutes fast"), (7200, "2 hours slow"), (-10 * 86_400, "10 days fast")],
)
def test_the_size_and_the_direction_are_named(offset: float, words: str) -> None:
    assert describe_skew(offset).startswith(f"The machine's clock is {words}. ")
