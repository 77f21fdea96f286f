"""Extension goals on their whole way: from ARM to the machine, and what came of them back to the instanceView."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.disconnect import remove_local_state
from arcgate.agent.extension_state import WantedExtension, read_wanted_extensions, write_extension_statuses
from arcgate.agent.himds import session as session_module
from arcgate.agent.machine_key import KeyKind, MachineKey
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, read_goal
from arcgate.core.extension_goals import ExtensionState, ExtensionStatus, Level
from worlds.agent_cloud import AgentCloud, Fault, agent_cloud
from worlds.authority import Authority
from worlds.control_plane import MACHINES
from worlds.waiting import until

pytestmark = pytest.mark.anyio

PLACE = f"{MACHINES}/box/extensions"


def body(**changes: Any) -> dict[str, Any]:
    properties = {
        "publisher": "Microsoft.Azure.Monitor",
        "type": "AzureMonitorLinuxAgent",
        "typeHandlerVersion": "1.10",
        "settings": {"proxy": {"address": "http://127.0.0.1:40343"}},
        "protectedSettings": {"workspaceKey": "hunter2"},
    }
    return {"location": "eastus", "properties": {**properties, **changes}}


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AgentCloud]:
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENT_SPREAD", 0.0)
    async with agent_cloud(tmp_path, authority) as found:
        await found.plane.group()
        yield found


@pytest.fixture
def paths(cloud: AgentCloud, tmp_path: Path) -> AgentPaths:
    return cloud.machine(tmp_path / "agent")


@asynccontextmanager
async def connected(cloud: AgentCloud, paths: AgentPaths) -> AsyncIterator[AgentIdentity]:
    identity = await cloud.onboard(paths, key_kind=KeyKind.EC)
    async with cloud.himdsd(paths):
        yield identity


def wanted(paths: AgentPaths) -> list[WantedExtension]:
    found = read_wanted_extensions(paths)
    return list(found.extensions) if found else []


async def shown(cloud: AgentCloud, name: str = "AMA") -> dict[str, Any]:
    reply = await cloud.plane.arm("GET", f"{PLACE}/{name}")
    assert reply.status == 200
    return dict(reply.json()["properties"])


async def test_an_extension_comes_changes_and_goes(cloud: AgentCloud, paths: AgentPaths) -> None:
    async with connected(cloud, paths) as identity:
        await cloud.plane.arm("PUT", f"{PLACE}/AMA", body())
        await until(lambda: len(wanted(paths)) == 1)
        [first] = wanted(paths)
        assert (first.goal.name, first.goal.version) == ("AMA", "1.10")
        assert first.settings == {"proxy": {"address": "http://127.0.0.1:40343"}}
        key = MachineKey.load(paths.machine_key)
        assert first.open_protected(key, identity.vm_id) == {"workspaceKey": "hunter2"}
        assert "hunter2" not in paths.extensions.read_text() + paths.goal.read_text()
        assert paths.extensions.stat().st_mode & 0o007 == 0
        await cloud.plane.arm("PATCH", f"{PLACE}/AMA", {"properties": {"settings": {"new": True}}})
        await until(lambda: wanted(paths)[0].settings == {"new": True})
        assert wanted(paths)[0].goal.settings_revision > first.goal.settings_revision
        assert wanted(paths)[0].open_protected(key, identity.vm_id) == {"workspaceKey": "hunter2"}
        await cloud.plane.arm("DELETE", f"{PLACE}/AMA")
        await until(lambda: wanted(paths) == [])
    remove_local_state(paths)
    assert read_wanted_extensions(paths) is None


async def test_what_came_of_it_is_shown_by_the_resource(cloud: AgentCloud, paths: AgentPaths) -> None:
    async with connected(cloud, paths):
        await cloud.plane.arm("PUT", f"{PLACE}/AMA", body())
        await until(lambda: len(wanted(paths)) == 1)
        assert (await shown(cloud))["instanceView"]["status"]["code"] == "NotReported"
        revision = wanted(paths)[0].goal.settings_revision
        gone = ExtensionStatus("gone", 1, ExtensionState.DELETING)
        failed = ExtensionStatus(
            "AMA",
            revision,
            ExtensionState.FAILED,
            "1.9",
            "51",
            Level.ERROR,
            "Failed",
            "No\nspace.",
            "2026-05-04T12:00:00Z",
        )
        cloud.door.faults = [Fault("PUT", "/extensions/ama/status", 503)]
        write_extension_statuses(paths, [failed, gone])
        await until(lambda: any("gone/status" in line for line in cloud.door.requests))
        view = await shown(cloud)
        assert view["provisioningState"] == "Failed"
        assert view["instanceView"]["typeHandlerVersion"] == "1.9"
        status = view["instanceView"]["status"]
        assert (status["code"], status["level"], status["message"]) == ("51", "Error", "No\\nspace.")
        listed = (await cloud.plane.arm("GET", PLACE)).json()["value"]
        assert [one["properties"]["provisioningState"] for one in listed] == ["Failed"]
        await cloud.plane.arm("PUT", f"{PLACE}/AMA", body(typeHandlerVersion="1.11"))
        assert (await shown(cloud))["provisioningState"] == "Updating"


async def test_while_settings_can_not_be_fetched_the_goal_holds_and_the_old_extensions_too(
    cloud: AgentCloud, paths: AgentPaths
) -> None:
    gateway = (await cloud.plane.gateway()).json()
    async with connected(cloud, paths):
        await cloud.plane.arm("PUT", f"{PLACE}/one", body())
        await until(lambda: len(wanted(paths)) == 1)
        cloud.door.faults = [Fault("GET", "/extensions/two/settings", 503, times=3)]
        await cloud.plane.arm("PUT", f"{PLACE}/two", body())
        await cloud.plane.associate("box", gateway["id"])
        await until(lambda: (goal := read_goal(paths)) is not None and goal.has_gateway)
        assert "one" in [one.goal.name for one in wanted(paths)]
        await until(lambda: [one.goal.name for one in wanted(paths)] == ["one", "two"])


async def test_a_machine_whose_certificate_is_revoked_gets_no_settings(cloud: AgentCloud, paths: AgentPaths) -> None:
    async with connected(cloud, paths):
        await cloud.plane.arm("POST", f"{MACHINES}/box/revokeCertificate", version="2026-11-01")
        await cloud.plane.arm("PUT", f"{PLACE}/AMA", body())
        await until(lambda: any("AMA/settings" in line for line in cloud.door.requests))
        assert wanted(paths) == []
