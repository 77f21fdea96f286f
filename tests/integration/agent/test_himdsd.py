"""himdsd against a real control plane: it follows associations, identities and its own certificate."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from arcgate.agent.disconnect import remove_local_state
from arcgate.agent.himds import session as session_module
from arcgate.agent.himds.session import SLOW_RETRY
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.machine_key import read_certificate, store_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_goal, read_himds_state, read_identity
from worlds.agent_cloud import AgentCloud, Fault, agent_cloud
from worlds.authority import Authority
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentCloud]:
    async with agent_cloud(tmp_path, authority) as found:
        await found.plane.group()
        yield found


@pytest.fixture
def paths(cloud: AgentCloud, tmp_path: Path) -> AgentPaths:
    return cloud.machine(tmp_path / "agent")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENT_SPREAD", 0.0)
    monkeypatch.setattr(session_module, "LONGEST_RETRY", 0.5)


def _is_connected(paths: AgentPaths) -> bool:
    return read_himds_state(paths).status == "Connected"


def _heartbeats(cloud: AgentCloud) -> int:
    return sum(line.endswith("/heartbeat") for line in cloud.door.requests)


def _gateway_host(paths: AgentPaths) -> str:
    goal = read_goal(paths)
    return goal.gateway_host if goal else ""


async def test_a_connected_machine_reports_itself(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    SettingsFile(paths).set("proxy.url", "http://user:hunter2@proxy.corp.example:3128")
    async with cloud.himdsd(paths):
        await until(lambda: _is_connected(paths))
    [machine] = await cloud.machines()
    assert machine["properties"]["status"] == "Connected"
    assert "hunter2" not in str(machine)


async def test_it_waits_for_the_machine_to_be_connected(cloud: AgentCloud, paths: AgentPaths) -> None:
    async with cloud.himdsd(paths):
        await cloud.onboard(paths)
        await until(lambda: _is_connected(paths))


async def test_an_association_and_its_end_arrive_by_themselves(cloud: AgentCloud, paths: AgentPaths) -> None:
    gateway = (await cloud.plane.gateway()).json()
    await cloud.onboard(paths)
    async with cloud.himdsd(paths):
        await until(lambda: _is_connected(paths))
        await cloud.plane.associate("box", gateway["id"])
        await until(lambda: _gateway_host(paths) == gateway["properties"]["gatewayEndpoint"])
        await cloud.plane.associate("box", None)
        await until(lambda: _gateway_host(paths) == "")


async def test_a_new_goal_is_acknowledged_by_a_heartbeat(cloud: AgentCloud, paths: AgentPaths) -> None:
    gateway = (await cloud.plane.gateway()).json()
    await cloud.onboard(paths)
    async with cloud.himdsd(paths):
        await until(lambda: _is_connected(paths))
        before = _heartbeats(cloud)
        await cloud.plane.associate("box", gateway["id"])
        await until(lambda: _heartbeats(cloud) > before)


async def test_a_changed_setting_is_reported_at_once(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    async with cloud.himdsd(paths):
        await until(lambda: _is_connected(paths))
        before = _heartbeats(cloud)
        SettingsFile(paths).set("connection.type", "direct")
        await until(lambda: _heartbeats(cloud) > before)


async def test_a_network_that_fails_is_told_of_and_recovered_from(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    cloud.is_reachable = False
    async with cloud.himdsd(paths):
        await until(lambda: read_himds_state(paths).error_code == "TCP_REFUSED")
        cloud.is_reachable = True
        await until(lambda: _is_connected(paths) and read_himds_state(paths).error_code == "")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/heartbeat", 500),
        Fault("POST", "/heartbeat", 429),
        Fault("POST", "/heartbeat", 200, ["no", "object"]),
        Fault("GET", "/goal", 503),
        Fault("GET", "/goal", 200, {"revision": []}),
        Fault("GET", "/goal", 200, {"revision": 10**9, "gateway": {"host": 5}}),
        Fault("POST", "/heartbeat", 421),
    ],
    ids=lambda one: f"{one.method}{one.part}-{one.status}",
)
async def test_odd_answers_stop_nothing(cloud: AgentCloud, paths: AgentPaths, fault: Fault) -> None:
    gateway = (await cloud.plane.gateway()).json()
    await cloud.onboard(paths)
    cloud.door.faults = [replace(fault, times=3)]
    async with cloud.himdsd(paths):
        await cloud.plane.associate("box", gateway["id"])
        await until(lambda: _is_connected(paths))
        await until(lambda: _gateway_host(paths) == gateway["properties"]["gatewayEndpoint"])
        await until(lambda: read_himds_state(paths).error_code == "")


async def test_a_deleted_machine_is_told_of_and_not_asked_about_all_the_time(
    cloud: AgentCloud, paths: AgentPaths
) -> None:
    await cloud.onboard(paths)
    [machine] = await cloud.machines()
    async with cloud.himdsd(paths) as pauses:
        await until(lambda: _is_connected(paths))
        await cloud.plane.arm("DELETE", machine["id"])
        SettingsFile(paths).set("connection.type", "direct")
        await until(lambda: read_himds_state(paths).error_code == "MachineNotFound")
        await until(lambda: any(SLOW_RETRY <= pause <= 2 * SLOW_RETRY for pause in pauses))
    state = read_himds_state(paths)
    assert state.status == "Disconnected"
    assert "disconnect" in state.error_details


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(hours=-2)])
async def test_a_wrong_clock_is_corrected_by_the_servers(
    cloud: AgentCloud, paths: AgentPaths, ahead: timedelta
) -> None:
    await cloud.onboard(paths)
    async with cloud.himdsd(paths, ahead):
        await until(lambda: _is_connected(paths))
    assert abs(read_himds_state(paths).server_time_offset + ahead.total_seconds()) < 30


async def test_a_missing_or_damaged_certificate_is_fetched_again(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    store_certificate(paths, "nonsense")
    async with cloud.himdsd(paths):
        await until(lambda: "BEGIN CERTIFICATE" in paths.machine_certificate.read_text())
    assert read_certificate(paths) is not None


async def test_a_certificate_past_half_of_its_life_is_renewed(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    old = read_certificate(paths)
    assert old is not None
    cloud.plane.clock.advance(days=60)

    def is_renewed() -> bool:
        facts = read_certificate(paths)
        return facts is not None and facts.serial != old.serial

    async with cloud.himdsd(paths, timedelta(days=60)):
        await until(is_renewed)


async def test_a_failing_renewal_keeps_the_certificate_and_is_told_of(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    before = paths.machine_certificate.read_bytes()
    cloud.plane.clock.advance(days=60)
    cloud.door.faults = [Fault("POST", "/certificate", 500, times=10**6)]
    async with cloud.himdsd(paths, timedelta(days=60)):
        await until(lambda: read_himds_state(paths).error_code == "Broken")
        await until(lambda: _is_connected(paths))
    assert paths.machine_certificate.read_bytes() == before


async def test_it_follows_a_disconnect_and_another_connect(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths, "first")
    async with cloud.himdsd(paths):
        await until(lambda: _is_connected(paths))
        remove_local_state(paths)
        await until(lambda: not paths.himds_state.exists() and read_identity(paths) is None)
        second = await cloud.onboard(paths, "second")
        await until(lambda: any(second.vm_id in line and "heartbeat" in line for line in cloud.door.requests))
        await until(lambda: _is_connected(paths))


async def test_a_damaged_key_is_told_of_and_a_repaired_one_used(cloud: AgentCloud, paths: AgentPaths) -> None:
    await cloud.onboard(paths)
    pem = paths.machine_key.read_bytes()
    paths.machine_key.write_text("nonsense")
    async with cloud.himdsd(paths):
        await until(lambda: read_himds_state(paths).error_code == "AZCM0104")
        paths.machine_key.write_bytes(pem)
        await until(lambda: _is_connected(paths))
