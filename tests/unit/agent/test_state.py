"""State files of the agent's parts, and the locks of its services."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import (
    AgentIdentity,
    ArcProxyState,
    HimdsState,
    ServiceLock,
    is_running,
    read_arcproxy_state,
    read_goal,
    read_himds_state,
    read_identity,
    write_arcproxy_state,
    write_goal,
    write_himds_state,
    write_identity,
)
from arcgate.core.errors import StateError
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import Goal

IDENTITY = AgentIdentity(
    "22222222-2222-4222-8222-222222222222",
    "servers",
    "box",
    "/subscriptions/22222222-2222-4222-8222-222222222222/resourceGroups/servers/providers/"
    "Microsoft.HybridCompute/machines/box",
    "11111111-1111-4111-8111-111111111111",
    "eastus",
    "33333333-3333-4333-8333-333333333333",
    "Arcgate",
)


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    found.prepare()
    return found


def test_an_identity_survives_being_stored(paths: AgentPaths) -> None:
    assert read_identity(paths) is None
    write_identity(paths, IDENTITY)
    assert read_identity(paths) == IDENTITY


def test_an_identity_is_restored_from_its_backup(paths: AgentPaths) -> None:
    write_identity(paths, IDENTITY)
    paths.agent_configuration.write_text('{"vmId":')
    assert read_identity(paths) == IDENTITY


@pytest.mark.parametrize("content", ["{}", '{"vmId": 5}', '{"vmId": "../../etc/passwd"}'])
def test_an_identity_without_a_machine_id_is_an_error(paths: AgentPaths, content: str) -> None:
    paths.agent_configuration.write_text(content)
    with pytest.raises(StateError) as caught:
        read_identity(paths)
    assert "agentconfig.json" in caught.value.sentence


def test_a_goal_survives_being_stored(paths: AgentPaths) -> None:
    goal = Goal(7, "/gateways/one", "abc.gw.arcgate.test", 8443, (parse_pattern("*.example.com:8080"),))
    write_goal(paths, goal)
    assert read_goal(paths) == goal


@pytest.mark.parametrize("content", ["", "{}", '{"revision": "x", "gateway": null}', "[1]"])
def test_a_damaged_goal_is_an_error(paths: AgentPaths, content: str) -> None:
    paths.goal.write_text(content)
    with pytest.raises(StateError):
        read_goal(paths)


def test_states_survive_being_stored(paths: AgentPaths) -> None:
    himds = HimdsState("Connected", "2026-01-01T00:00:00Z", goal_revision=3, server_time_offset=-2.5)
    arcproxy = ArcProxyState(12, 3, ("127.0.0.1:40343",), "gateway", {"port": 40343})
    write_himds_state(paths, himds)
    write_arcproxy_state(paths, arcproxy)
    assert read_himds_state(paths) == himds
    assert read_arcproxy_state(paths) == arcproxy


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": 5}', '{"goalRevision": "x"}', '{"listen": 5}'])
def test_a_damaged_state_counts_as_unknown(paths: AgentPaths, content: str) -> None:
    paths.himds_state.write_text(content)
    paths.arcproxy_state.write_text(content)
    assert read_himds_state(paths) == HimdsState()
    assert read_arcproxy_state(paths) == ArcProxyState()


def test_a_service_that_holds_its_lock_is_running(paths: AgentPaths) -> None:
    assert not is_running(paths.himdsd_lock)
    with ServiceLock(paths.himdsd_lock):
        assert is_running(paths.himdsd_lock)
    assert not is_running(paths.himdsd_lock)


def test_there_is_one_of_a_service_only(paths: AgentPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcgate.agent.state.LOCK_PATIENCE", 0.1)
    with ServiceLock(paths.himdsd_lock), pytest.raises(StateError) as caught:
        ServiceLock(paths.himdsd_lock).acquire()
    assert caught.value.code == "ALREADY_RUNNING"
    assert "himdsd" in caught.value.sentence


def test_a_lock_of_a_process_that_was_killed_is_free(paths: AgentPaths) -> None:
    code = (
        "import sys, time; from pathlib import Path; from arcgate.agent.state import ServiceLock\n"
        "ServiceLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(paths.himdsd_lock)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_running(paths.himdsd_lock)
        process.kill()
    assert not is_running(paths.himdsd_lock)


def test_asking_does_not_keep_a_service_from_starting(paths: AgentPaths) -> None:
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            is_running(paths.himdsd_lock)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(20):
            with ServiceLock(paths.himdsd_lock):
                pass
    finally:
        done.set()
        for asker in askers:
            asker.join()
