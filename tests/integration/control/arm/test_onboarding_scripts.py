"""POST …/generateOnboardingScript: what it makes of its body, whom it serves, and what it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from worlds.asgi import Reply
from worlds.control_plane import GATEWAYS, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio
PATH = "providers/Arcgate.Network/generateOnboardingScript"
VERSION = "2026-11-01"


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def generate(plane: ControlPlane, **changes: Any) -> Reply:
    body = {"os": "linux", "resourceGroup": "servers", "location": "eastus", **changes}
    return await plane.arm("POST", PATH, body, version=VERSION)


async def test_a_script_carries_authority_and_the_caller_s_tenant(plane: ControlPlane) -> None:
    document = (await generate(plane, tags={"City": "Bern"})).json()
    assert document["fileName"] == "OnboardingScript.sh"
    script = document["script"]
    assert "BEGIN CERTIFICATE" in script
    assert f"tenantId={plane.tenant_id}" in script
    assert f"subscriptionId={plane.subscription_id}" in script
    assert "installer=https://packages.arcgate.test/azcmagent-linux" in script
    assert "log=https://gbl.his.arcgate.test/log" in script
    assert "@@" not in script


async def test_with_a_gateway_everything_is_fetched_through_its_name(plane: ControlPlane) -> None:
    made = (await plane.arm("PUT", f"{GATEWAYS}/edge", {"location": "eastus", "properties": {}})).json()
    endpoint = made["properties"]["gatewayEndpoint"]
    script = (await generate(plane, gatewayId=made["id"])).json()["script"]
    assert f"installer=https://{endpoint}/azcmagent-linux" in script
    assert f"gatewayID={made['id']}" in script


async def test_windows_gets_powershell(plane: ControlPlane) -> None:
    document = (await generate(plane, os="windows")).json()
    assert document["fileName"] == "OnboardingScript.ps1"
    assert "azcmagent-windows'" in document["script"]


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"proxy": "http://user:secret@squid:3128"}, "proxy"),
        ({"proxy": "squid;reboot"}, "proxy"),
        ({"servicePrincipalId": "x"}, "servicePrincipalId"),
        ({"secretFile": "/root/secret"}, "secretFile"),
        ({"tags": {"owner": "O'Neill"}}, "tags"),
        ({"gatewayId": "edge"}, "gatewayId"),
        ({"location": "atlantis"}, "location"),
        ({"os": "beos"}, "os"),
        ({"secret": "x"}, "secret"),
    ],
)
async def test_what_a_script_can_not_say_is_refused(plane: ControlPlane, changes: dict[str, Any], target: str) -> None:
    reply = await generate(plane, **changes)
    assert reply.status == 400
    assert reply.json()["error"]["target"] == target
    assert "secret@" not in reply.body.decode()


async def test_a_gateway_that_is_not_there_is_not_found(plane: ControlPlane) -> None:
    path = (
        f"/subscriptions/{plane.subscription_id}/resourceGroups/servers/providers/Microsoft.HybridCompute/gateways/no"
    )
    assert (await generate(plane, gatewayId=path)).status == 404
