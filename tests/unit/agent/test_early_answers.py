"""Early answers: only by the gateway's route, of a gateway that speaks frames, for a target that has not failed."""

from dataclasses import replace

import pytest

from arcgate.agent.early_answers import MOST_DOUBTED, EarlyAnswers
from arcgate.agent.surroundings import Surroundings
from arcgate.core.errors import StateError
from arcgate.core.names import Target, parse_target
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import Goal, Routing

ALLOWED, OTHER = parse_target("app.example.com:443"), parse_target("other.example.net:443")
GOAL = Goal(1, "/g", "gw.example", allowed=(parse_pattern("app.example.com"),))
NOW = Surroundings(routing=Routing(GOAL), answers_early=True)


def may(early: EarlyAnswers, target: Target = ALLOWED, now: Surroundings = NOW) -> bool:
    return early.may(target, now.routing.route(target), now)


@pytest.fixture
def early() -> EarlyAnswers:
    learnt = EarlyAnswers()
    assert NOW.gateway is not None
    learnt.spoke_frames(NOW.gateway)
    return learnt


def test_what_the_goal_allows_is_answered_early_and_nothing_else(early: EarlyAnswers) -> None:
    assert may(early)
    assert not may(early, OTHER)


def test_a_gateway_that_has_not_spoken_frames_is_waited_for(early: EarlyAnswers) -> None:
    assert not may(EarlyAnswers())
    moved = replace(NOW, routing=Routing(replace(GOAL, gateway_host="another.example")))
    assert not may(early, now=moved)


@pytest.mark.parametrize("change", [{"answers_early": False}, {"problem": StateError("X", "Damaged.")}])
def test_without_the_setting_or_with_damaged_files_nothing_is(early: EarlyAnswers, change: dict[str, object]) -> None:
    assert not may(early, now=replace(NOW, **change))  # type: ignore[arg-type]


def test_a_target_that_failed_is_waited_for_until_it_has_worked(early: EarlyAnswers) -> None:
    early.failed(ALLOWED)
    assert not may(early)
    early.worked(ALLOWED)
    assert may(early)


def test_only_so_many_failed_targets_are_remembered(early: EarlyAnswers) -> None:
    early.failed(ALLOWED)
    for number in range(MOST_DOUBTED):
        early.failed(parse_target(f"host{number}.example.com:443"))
    assert may(early)
