"""Surroundings follow the agent's files, and keep what was good while one is damaged."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import ArcProxyState, ServiceLock, write_arcproxy_state
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.names import parse_target
from arcgate.core.routing import ConnectionType, Way
from arcgate.net.files import write_file, write_json


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path), "AZCMAGENT_CLOUDS": str(tmp_path / "clouds")})
    found.prepare()
    return found


def _goal(revision: int, host: str = "p.gw.arcgate.test") -> dict[str, object]:
    gateway = {"id": "/g", "host": host, "port": 443} if host else None
    return {"revision": revision, "gateway": gateway, "allowed": [], "control": [], "bypass": []}


def test_without_any_file_there_is_no_gateway_and_no_proxy(paths: AgentPaths) -> None:
    now = SurroundingsWatch(paths, {}).current
    assert now.gateway is None
    assert now.proxy is None
    assert now.problem is None
    assert not now.routing.uses_gateway


def test_a_refresh_without_changes_keeps_the_value(paths: AgentPaths) -> None:
    watch = SurroundingsWatch(paths, {})
    before = watch.current
    assert not watch.refresh()
    assert watch.current is before


def test_settings_goal_and_certificate_are_followed(paths: AgentPaths) -> None:
    watch = SurroundingsWatch(paths, {})
    write_json(paths.goal, _goal(3))
    assert watch.refresh()
    assert watch.current.routing.uses_gateway
    settings = {"connection.type": "direct", "proxy.url": "http://p:3128", "gateway.address": "192.0.2.1:444"}
    write_json(paths.local_configuration, settings)
    assert watch.refresh()
    now = watch.current
    assert now.routing.connection_type is ConnectionType.DIRECT
    assert now.routing.has_enterprise_proxy
    assert now.gateway is not None
    assert now.gateway.dialled == parse_target("192.0.2.1:444")
    paths.machine_certificate.write_text("x")
    paths.machine_key.write_text("x")
    assert watch.refresh()
    assert watch.current.certificate == (paths.machine_certificate, paths.machine_key)


def test_the_policy_of_hand_over_and_the_early_answer_are_settings(paths: AgentPaths) -> None:
    watch = SurroundingsWatch(paths, {})
    assert watch.current.hand_over == HandOverPolicy(HandOverMode.IDLE, bulk=65_536, idle=5)
    assert not watch.current.answers_early
    settings = {"arcproxy.handover": "early", "arcproxy.handover.afterbytes": 9, "arcproxy.handover.idle": 8}
    write_json(paths.local_configuration, {**settings, "arcproxy.earlyanswer": True})
    watch.refresh()
    assert watch.current.hand_over == HandOverPolicy(HandOverMode.EARLY, bulk=9, idle=8)
    assert watch.current.answers_early


def test_a_goal_that_was_removed_means_no_gateway(paths: AgentPaths) -> None:
    write_json(paths.goal, _goal(3))
    watch = SurroundingsWatch(paths, {})
    paths.goal.unlink()
    assert watch.refresh()
    assert watch.current.gateway is None


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"revision": "x"}', "\x00" * 100])
def test_a_damaged_goal_keeps_the_last_one_and_is_told_once(paths: AgentPaths, content: str) -> None:
    write_json(paths.goal, _goal(3))
    watch = SurroundingsWatch(paths, {})
    paths.goal.write_text(content)
    with capture_logs() as logs:
        for _ in range(3):
            watch.refresh()
    assert watch.current.routing.goal.revision == 3 or content == "null"
    assert watch.current.problem is None
    assert len([one for one in logs if one["log_level"] == "error"]) == (0 if content == "null" else 1)


def test_a_goal_that_was_never_good_is_a_problem_until_it_is_written_again(paths: AgentPaths) -> None:
    paths.goal.write_text("{")
    watch = SurroundingsWatch(paths, {})
    before = watch.current
    assert before.problem is not None
    write_json(paths.goal, _goal(4))
    watch.refresh()
    after = watch.current
    assert after.problem is None
    assert after.routing.goal.revision == 4


def test_a_stored_proxy_that_can_not_be_used_is_a_problem_and_not_a_direct_connection(paths: AgentPaths) -> None:
    write_json(paths.local_configuration, {"proxy.url": "socks://p:1080"})
    problem = SurroundingsWatch(paths, {}).current.problem
    assert problem is not None
    assert "proxy.url" in problem.sentence


def test_other_settings_that_can_not_be_used_leave_the_rest_in_force(paths: AgentPaths) -> None:
    write_json(paths.local_configuration, {"arcproxy.port": "many", "proxy.url": "http://p:3128"})
    now = SurroundingsWatch(paths, {}).current
    assert now.problem is None
    assert now.proxy is not None


@pytest.mark.parametrize("proxy", ["http://localhost:40343", "http://127.0.0.1:40343", "http://[::1]:40343"])
def test_arc_proxy_is_never_its_own_enterprise_proxy(paths: AgentPaths, proxy: str) -> None:
    assert SurroundingsWatch(paths, {"HTTPS_PROXY": proxy}).current.proxy is None


def test_a_proxy_on_another_port_of_this_host_is_one(paths: AgentPaths) -> None:
    assert SurroundingsWatch(paths, {"HTTPS_PROXY": "http://localhost:3128"}).current.proxy is not None


@pytest.mark.parametrize(
    ("revision", "connection_type", "is_used"),
    [(5, "default", True), (4, "default", False), (5, "direct", False)],
)
def test_the_agent_goes_through_arc_proxy_only_while_both_go_by_the_same_files(
    paths: AgentPaths, revision: int, connection_type: str, is_used: bool
) -> None:
    write_json(paths.goal, _goal(5))
    write_arcproxy_state(paths, ArcProxyState(1, revision, ("127.0.0.1:41000",), connection_type, {"port": 41000}))
    with ServiceLock(paths.arcproxyd_lock):
        found = SurroundingsWatch(paths, {}).for_agent().arc_proxy
    assert found == (parse_target("127.0.0.1:41000") if is_used else None)


def test_several_proxies_come_with_the_credentials_of_their_file(paths: AgentPaths) -> None:
    write_json(paths.local_configuration, {"proxy.url": "http://one:3128,https://two:3129"})
    watch = SurroundingsWatch(paths, {})
    assert watch.current.proxy is not None
    assert watch.current.proxy.user == ""
    write_file(paths.proxy_credentials, "user:secret\n")
    assert watch.refresh()
    assert watch.current.proxy is not None
    proxies = (watch.current.proxy, *watch.current.further_proxies)
    assert [(str(one), one.user, one.password) for one in proxies] == [
        ("http://one:3128", "user", "secret"),
        ("https://two:3129", "user", "secret"),
    ]


def test_credentials_that_were_there_before_the_proxy_was_set_are_taken(paths: AgentPaths) -> None:
    write_file(paths.proxy_credentials, "user:secret\n")
    watch = SurroundingsWatch(paths, {})
    write_json(paths.local_configuration, {"proxy.url": "http://one:3128"})
    watch.refresh()
    assert watch.current.proxy is not None
    assert watch.current.proxy.user == "user"


def test_credentials_that_can_not_be_used_are_a_problem(paths: AgentPaths) -> None:
    settings = {"proxy.url": "http://one:3128", "proxy.credentials": str(paths.home / "none")}
    write_json(paths.local_configuration, settings)
    watch = SurroundingsWatch(paths, {})
    for now in (watch.current, watch.for_agent()):
        assert now.problem is not None
        assert now.problem.code == "PROXY_CREDENTIALS_UNUSABLE"


def test_no_proxy_counts_with_the_proxy_of_the_environment_alone(paths: AgentPaths) -> None:
    environment = {"HTTPS_PROXY": "http://env:3128", "NO_PROXY": "near.example"}
    target = parse_target("host.near.example:443")
    now = SurroundingsWatch(paths, environment).current
    assert now.proxy_towards(target) is None
    assert now.routing.route(target).way is Way.DIRECT
    assert now.routing.route(parse_target("far.example:443")).way is Way.ENTERPRISE
    write_json(paths.local_configuration, {"proxy.url": "http://own:3128"})
    now = SurroundingsWatch(paths, environment).current
    assert now.proxy_towards(target) is now.proxy
    assert now.routing.route(target).way is Way.ENTERPRISE
