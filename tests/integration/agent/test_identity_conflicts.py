"""Clones, acknowledgements and skewed clocks: what operators see of a machine, and what the machine is told."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.cloud import load_cloud
from arcgate.agent.himds import session as session_module
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.machine_key import read_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import ArcProxyState, ServiceLock, read_goal, read_himds_state, write_arcproxy_state
from worlds.agent_cloud import AgentCloud, agent_cloud
from worlds.authority import Authority
from worlds.control_plane import MACHINES
from worlds.waiting import until, until_so

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AgentCloud]:
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENT_SPREAD", 0.0)
    async with agent_cloud(tmp_path, authority) as found:
        await found.plane.group()
        yield found


@pytest.fixture
async def paths(cloud: AgentCloud, tmp_path: Path) -> AgentPaths:
    return await onboarded(cloud, tmp_path)


async def onboarded(cloud: AgentCloud, tmp_path: Path) -> AgentPaths:
    found = cloud.machine(tmp_path / "agent")
    await cloud.onboard(found)
    return found


@asynccontextmanager
async def himdsd(
    cloud: AgentCloud, paths: AgentPaths, ahead: timedelta = timedelta(), *, waits: bool = True
) -> AsyncIterator[None]:
    async with cloud.himdsd(paths, ahead):
        await until(lambda: not waits or read_himds_state(paths).status == "Connected")
        yield


async def shown(cloud: AgentCloud) -> dict[str, Any]:
    return dict((await cloud.plane.arm("GET", f"{MACHINES}/box")).json()["properties"])


async def _errors(cloud: AgentCloud) -> list[Any]:
    return list((await shown(cloud))["errorDetails"])


def heartbeats(cloud: AgentCloud) -> int:
    return sum(line.endswith("/heartbeat") for line in cloud.door.requests)


async def report_again(cloud: AgentCloud, paths: AgentPaths, mark: int) -> None:
    """Have this machine's service report once more."""
    before = heartbeats(cloud)
    SettingsFile(paths).set("arcproxy.timeout.idle", str(1000 + mark))
    await until(lambda: heartbeats(cloud) > before)


def is_applied(cloud: AgentCloud, revision: int) -> Callable[[], Awaitable[bool]]:
    async def question() -> bool:
        return bool((await shown(cloud))["reconciliation"]["appliedRevision"] == revision)

    return question


async def test_a_clone_is_found_told_of_to_both_and_named_in_the_audit(
    cloud: AgentCloud, paths: AgentPaths, tmp_path: Path
) -> None:
    twin = cloud.machine(tmp_path / "twin")
    shutil.copytree(paths.home, twin.home, dirs_exist_ok=True)
    async with AsyncExitStack() as stack:
        for one in (paths, twin):
            await stack.enter_async_context(himdsd(cloud, one))
        assert "statusReason" not in await shown(cloud)
        for mark in range(3):
            for one in (paths, twin):
                await report_again(cloud, one, mark)
        await until(lambda: read_himds_state(paths).error_code == "MachineCloned")
        await until(lambda: read_himds_state(twin).error_code == "MachineCloned")
    assert "disconnect --force-local-only" in read_himds_state(twin).error_details
    properties = await shown(cloud)
    assert (properties["status"], properties["statusReason"]) == ("Connected", "Cloned")
    [error] = properties["errorDetails"]
    assert error["code"] == "MachineCloned"
    records = await cloud.plane.arm(
        "GET", "providers/Arcgate.Network/auditRecords", version="2026-11-01", query={"event": "conflict"}
    )
    [record] = records.json()["value"]
    assert (record["reason"], record["machine"].rpartition("/")[2]) == ("machine_cloned", "box")
    assert current().facts().fqdn in record["detail"]


async def test_a_restarted_service_is_no_clone(cloud: AgentCloud, paths: AgentPaths) -> None:
    for _ in range(4):
        before = heartbeats(cloud)
        async with himdsd(cloud, paths):
            await until(lambda before=before: heartbeats(cloud) > before)  # type: ignore[misc]
    assert "statusReason" not in await shown(cloud)


async def test_the_resource_tells_the_revision_in_force_and_since_when(cloud: AgentCloud, paths: AgentPaths) -> None:
    async with himdsd(cloud, paths):
        first = (await shown(cloud))["reconciliation"]
        assert first["isCurrent"] is True
        gateway = (await cloud.plane.gateway()).json()
        await cloud.plane.associate("box", gateway["id"])
        wanted = (await shown(cloud))["reconciliation"]["wantedRevision"]
        assert wanted > first["wantedRevision"]
        await until_so(is_applied(cloud, wanted))
    second = (await shown(cloud))["reconciliation"]
    goal = read_goal(paths)
    assert goal is not None
    assert goal.has_gateway
    assert second["isCurrent"] is True
    assert goal.revision == wanted
    assert second["appliedSince"] > first["appliedSince"]


async def test_a_running_arc_proxy_that_has_not_taken_the_goal_is_not_acknowledged(
    cloud: AgentCloud, paths: AgentPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "ARC_PROXY_PAUSE", 0.0)
    goal = read_goal(paths)
    assert goal is not None
    write_arcproxy_state(paths, ArcProxyState(1, goal.revision, ("127.0.0.1:1",), "default"))
    with ServiceLock(paths.arcproxyd_lock):
        async with himdsd(cloud, paths):
            gateway = (await cloud.plane.gateway()).json()
            before = heartbeats(cloud)
            await cloud.plane.associate("box", gateway["id"])
            await until(lambda: heartbeats(cloud) > before)
            assert (await shown(cloud))["reconciliation"]["isCurrent"] is False
            newer = read_goal(paths)
            assert newer is not None
            write_arcproxy_state(paths, ArcProxyState(1, newer.revision, ("127.0.0.1:1",), "default"))
            await until_so(is_applied(cloud, newer.revision))
    assert (await shown(cloud))["reconciliation"]["isCurrent"] is True


async def test_a_skewed_clock_is_named_with_its_size(cloud: AgentCloud, paths: AgentPaths) -> None:
    ahead = timedelta(hours=3)
    async with himdsd(cloud, paths, ahead):
        await report_again(cloud, paths, 1)
        await until_so(lambda: _errors(cloud))
    [error] = (await shown(cloud))["errorDetails"]
    assert error["code"] == "ClockSkew"
    assert "3 hours fast" in error["message"]


async def test_a_goal_outlives_restarts_and_weeks_without_a_control_plane(cloud: AgentCloud, paths: AgentPaths) -> None:
    gateways = [(await cloud.plane.gateway(name)).json() for name in ("first", "second")]
    await cloud.plane.associate("box", gateways[0]["id"])
    async with himdsd(cloud, paths):
        await until(lambda: (goal := read_goal(paths)) is not None and goal.has_gateway)
    kept = paths.goal.read_bytes()
    before = read_certificate(paths)
    assert before is not None
    cloud.is_reachable = False
    for weeks in (1, 5, 8):
        paths.himds_state.unlink()
        async with himdsd(cloud, paths, timedelta(weeks=weeks), waits=False):
            await until(lambda: read_himds_state(paths).error_code == "TCP_REFUSED")
        assert paths.goal.read_bytes() == kept
    assert (await cloud.plane.associate("box", gateways[1]["id"])).status == 200
    cloud.plane.clock.advance(weeks=8)
    cloud.is_reachable = True
    async with himdsd(cloud, paths, timedelta(weeks=8)):
        endpoint = gateways[1]["properties"]["gatewayEndpoint"]
        await until(lambda: (goal := read_goal(paths)) is not None and goal.gateway_host == endpoint)
        await until(lambda: (facts := read_certificate(paths)) is not None and facts.serial != before.serial)


async def test_roots_that_the_cloud_announces_reach_the_machine(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENT_SPREAD", 0.0)
    (tmp_path / "next").mkdir()
    next_root = Authority(tmp_path / "next")
    announced = {"announced_authorities_file": next_root.file}
    async with agent_cloud(tmp_path, authority, tls=announced) as cloud:
        await cloud.plane.group()
        machine = await onboarded(cloud, tmp_path)
        assert load_cloud(machine).ca_pem.endswith(next_root.pem)
        async with himdsd(cloud, machine):
            assert load_cloud(machine).ca_pem.endswith(next_root.pem)
