"""Following the goal: newer ones are stored, older ones only when the cloud insists."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from arcgate.agent.agent_service import AgentService
from arcgate.agent.himds.goals import CONFIRMATION_PAUSE, CONFIRMATIONS, GoalFollower
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_goal, write_goal
from arcgate.core.routing import Goal

pytestmark = pytest.mark.anyio


@dataclass
class Service:
    """Answers with these goals, one after another."""

    goals: list[Goal | None]
    asked: list[int] = field(default_factory=list)

    async def goal(self, after: int, wait: int) -> Goal | None:
        self.asked.append(after)
        return self.goals.pop(0)


def _service(*goals: Goal | None) -> AgentService:
    return cast("AgentService", Service(list(goals)))


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    found.prepare()
    return found


async def test_a_newer_goal_is_stored_and_followed_at_once(paths: AgentPaths) -> None:
    follower = GoalFollower.from_disk(paths)
    assert await follower.step(_service(Goal(5))) == 0
    assert read_goal(paths) == follower.goal == Goal(5)


async def test_no_news_changes_nothing(paths: AgentPaths) -> None:
    write_goal(paths, Goal(5))
    before = paths.goal.stat().st_mtime_ns
    assert await GoalFollower.from_disk(paths).step(_service(None)) is None
    assert paths.goal.stat().st_mtime_ns == before


async def test_the_question_names_the_known_revision(paths: AgentPaths) -> None:
    write_goal(paths, Goal(5))
    service = Service([None])
    await GoalFollower.from_disk(paths).step(cast("AgentService", service))
    assert service.asked == [5]


async def test_an_older_goal_is_not_believed_the_first_time(paths: AgentPaths) -> None:
    write_goal(paths, Goal(5))
    follower = GoalFollower.from_disk(paths)
    assert await follower.step(_service(Goal(4))) == CONFIRMATION_PAUSE
    assert read_goal(paths) == Goal(5)


async def test_an_older_goal_is_believed_when_the_cloud_insists(paths: AgentPaths) -> None:
    write_goal(paths, Goal(5))
    follower = GoalFollower.from_disk(paths)
    for _ in range(CONFIRMATIONS):
        assert read_goal(paths) == Goal(5)
        await follower.step(_service(Goal(4)))
    assert read_goal(paths) == Goal(4)


async def test_insisting_counts_answers_in_a_row_only(paths: AgentPaths) -> None:
    write_goal(paths, Goal(5))
    follower = GoalFollower.from_disk(paths)
    for answer in (Goal(4), Goal(4), None, Goal(4), Goal(4)):
        await follower.step(_service(answer))
    assert read_goal(paths) == Goal(5)


async def test_a_damaged_goal_is_fetched_from_the_beginning(paths: AgentPaths) -> None:
    paths.goal.write_text("{")
    follower = GoalFollower.from_disk(paths)
    assert follower.goal == Goal()
    await follower.step(_service(Goal(5)))
    assert read_goal(paths) == Goal(5)
