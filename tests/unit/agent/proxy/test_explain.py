"""`azcmagent route` explains what Arc Proxy does."""

from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.proxy.explain import explain
from arcgate.core.errors import StateError
from arcgate.core.names import parse_target
from arcgate.core.routing import Way
from arcgate.net.files import write_json


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    return AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path), "AZCMAGENT_CLOUDS": str(tmp_path / "clouds")})


def test_the_route_comes_with_its_reason(paths: AgentPaths) -> None:
    gateway = {"id": "/g", "host": "p.gw.arcgate.test", "port": 443}
    goal = {"revision": 1, "gateway": gateway, "allowed": ["*.example.com"], "control": [], "bypass": []}
    write_json(paths.goal, goal)
    route = explain(paths, parse_target("app.example.com:443"))
    assert (route.way, route.reason) == (Way.GATEWAY, "the gateway allows it")
    assert explain(paths, parse_target("app.example.org:443")).way is Way.DIRECT
    assert explain(paths, parse_target("169.254.169.254:80")).way is Way.REFUSE


def test_a_damaged_goal_is_an_error_and_no_route(paths: AgentPaths) -> None:
    paths.goal.parent.mkdir(parents=True)
    paths.goal.write_text("[")
    with pytest.raises(StateError):
        explain(paths, parse_target("app.example.com:443"))
