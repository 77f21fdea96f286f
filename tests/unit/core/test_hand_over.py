"""Hand-over as a policy: the strictest says what holds."""

import itertools

import pytest

from arcgate.core.hand_over import MODES, HandOverMode, parse_mode, strictest


def test_the_modes_go_from_strict_to_generous() -> None:
    assert [HandOverMode(name).strictness for name in ("off", "bulk", "idle", "early")] == [0, 1, 2, 3]
    assert MODES == ("off", "bulk", "idle", "early")


@pytest.mark.parametrize("modes", list(itertools.product(HandOverMode, repeat=3)))
def test_the_strictest_holds_whoever_says_it(modes: tuple[HandOverMode, ...]) -> None:
    assert strictest(*modes) == strictest(*reversed(modes))
    assert all(strictest(*modes).strictness <= mode.strictness for mode in modes)
    assert strictest(*modes) in modes


@pytest.mark.parametrize("text", ["", "BULK", "at once", "bulk, early"])
def test_what_is_no_mode_counts_as_off(text: str) -> None:
    assert parse_mode(text) is HandOverMode.OFF


def test_a_mode_is_read_by_its_name() -> None:
    assert [parse_mode(name) for name in MODES] == list(HandOverMode)
