"""Following the goal: a long poll that stores each newer goal, whence Arc Proxy takes it."""

from dataclasses import dataclass

import structlog

from arcgate.agent.agent_service import GOAL_WAIT, AgentService
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_goal, write_goal
from arcgate.core.errors import StateError
from arcgate.core.routing import Goal

_log = structlog.get_logger(__name__)

CONFIRMATIONS = 3
"""Answers in a row with a lower revision than ours until we believe that the cloud's database was restored."""
CONFIRMATION_PAUSE = 2.0
"""Seconds between them: a control node that lags behind has caught up by then."""


@dataclass(slots=True)
class GoalFollower:
    """Holds the machine's goal."""

    paths: AgentPaths
    goal: Goal
    _lower_answers: int = 0

    @classmethod
    def from_disk(cls, paths: AgentPaths) -> "GoalFollower":
        """Return a follower of the stored goal; without a usable one it begins at revision 0."""
        try:
            return cls(paths, read_goal(paths) or Goal())
        except StateError as error:
            _log.warning("the stored goal is damaged and will be fetched again", cause=error.cause)
            return cls(paths, Goal())

    async def step(self, service: AgentService, wait: int = GOAL_WAIT) -> float | None:
        """Ask once; return seconds to pause before the next time, None when there was no news."""
        offered = await service.goal(self.goal.revision, wait)
        if offered is None:
            self._lower_answers = 0
            return None
        if offered.revision < self.goal.revision and not self._is_confirmed(offered):
            return CONFIRMATION_PAUSE
        self._lower_answers = 0
        self._take(offered)
        return 0

    def _is_confirmed(self, offered: Goal) -> bool:
        self._lower_answers += 1
        _log.warning(
            "the cloud offers an older goal than ours",
            offered=offered.revision,
            known=self.goal.revision,
            answers=self._lower_answers,
        )
        return self._lower_answers >= CONFIRMATIONS

    def _take(self, goal: Goal) -> None:
        write_goal(self.paths, goal)
        _log.info("new goal", revision=goal.revision, gateway=goal.gateway_host or "none", patterns=len(goal.allowed))
        self.goal = goal
