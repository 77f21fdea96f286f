"""Hand-over as a policy: the strictest says what holds."""

import itertools
import math

import pytest

from arcgate.core.hand_over import MODES, HandOverMode, HandOverPolicy, parse_mode, strictest


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


@pytest.mark.parametrize(
    ("mode", "after", "idle"),
    [("bulk", 1000, math.inf), ("idle", 1000, 7.0), ("early", 0, 7.0)],
)
def test_each_mode_adds_a_reason_to_the_one_before(mode: str, after: int, idle: float) -> None:
    policy = HandOverPolicy(HandOverMode(mode), bulk=1000, idle=7)
    assert (policy.after, policy.idle_after) == (after, idle)


def test_a_policy_that_is_limited_keeps_its_measures_and_never_gets_more_generous() -> None:
    policy = HandOverPolicy(HandOverMode.IDLE, bulk=1000, idle=7)
    assert policy.limited_to(HandOverMode.BULK, HandOverMode.EARLY) == HandOverPolicy(HandOverMode.BULK, 1000, 7)
    assert policy.limited_to(HandOverMode.EARLY) is policy
