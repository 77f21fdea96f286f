"""Clones, acknowledgements and skewed clocks: what operators see of a machine, and what the machine is told."""

import asyncio
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.connect import Onboarding
from arcgate.agent.connect_request import parse_request
from arcgate.agent.himds import session as session_module
from arcgate.agent.himds.daemon import Daemon
from arcgate.agent.himds.session import World
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.machine_key import now
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import ArcProxyState, ServiceLock, read_goal, read_himds_state, write_arcproxy_state
from arcgate.net.tasks import cancel, spawn
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
    found = cloud.machine(tmp_path / "agent")
    request = parse_request(
        resource_group="servers",
        location="eastus",
        subscription=cloud.plane.subscription_id,
        tenant_id=cloud.plane.tenant_id,
        resource_name="box",
        credentials=await cloud.credentials(),
    )
    facts = current().facts()
    onboarding = Onboarding(found, cloud.cloud, cloud.client(), facts, now, lambda _text: None, lambda _percent: None)
    await onboarding.run(request)
    return found


@asynccontextmanager
async def himdsd(cloud: AgentCloud, paths: AgentPaths, ahead: timedelta = timedelta()) -> AsyncIterator[None]:
    facts = current().facts()
    clock = lambda: now() + ahead  # noqa: E731
    world = World(clock, random.random, asyncio.sleep, time.monotonic, facts, dict(os.environ))
    task = spawn("himdsd", Daemon(paths, world, lambda *_: cloud.client()).run())
    try:
        await until(lambda: read_himds_state(paths).status == "Connected")
        yield
    finally:
        await cancel(task)


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
