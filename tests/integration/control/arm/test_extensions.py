"""Extensions of machines: kept for their clients, with secrets that nobody gets to see again."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from arcgate.control.arm.roles import MACHINE_ADMINISTRATOR, ONBOARDING, READER
from arcgate.control.store.models import ExtensionRow
from worlds.asgi import Reply
from worlds.control_plane import MACHINES, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio

PLACE = f"{MACHINES}/server-1/extensions"
BODY = {
    "location": "eastus",
    "tags": {"a": "b"},
    "properties": {
        "publisher": "Microsoft.Azure.Monitor",
        "type": "AzureMonitorLinuxAgent",
        "typeHandlerVersion": "1.10",
        "autoUpgradeMinorVersion": False,
        "settings": {"proxy": {"mode": "application", "address": "http://127.0.0.1:40343", "auth": False}},
        "protectedSettings": {"key": "very secret"},
    },
}


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        await made.machine()
        yield made


async def _put(plane: ControlPlane, name: str = "AMA") -> Reply:
    reply = await plane.arm("PUT", f"{PLACE}/{name}", BODY)
    assert reply.status == 202, reply.body
    return reply


async def _row(plane: ControlPlane) -> ExtensionRow:
    async with plane.context.store.read() as session:
        return (await session.execute(select(ExtensionRow))).scalar_one()


async def test_an_extension_is_made_by_a_long_running_operation(plane: ControlPlane) -> None:
    made = await _put(plane)
    assert made.body == b""
    for header in ("azure-asyncoperation", "location"):
        place, _, query = made.headers[header].partition("?")
        polled = await plane.arm("GET", place.removeprefix("https://management.arcgate.test"))
        assert polled.status == 200
        assert query == "api-version=2026-07-15"
    shown = (await plane.arm("GET", f"{PLACE}/ama")).json()
    assert shown["id"].endswith("/machines/server-1/extensions/AMA")
    assert shown["type"] == "Microsoft.HybridCompute/machines/extensions"
    assert shown["properties"]["settings"] == BODY["properties"]["settings"]  # type: ignore[index]
    assert shown["properties"]["provisioningState"] == "Succeeded"
    assert shown["properties"]["instanceView"]["status"]["code"] == "NotReported"
    assert shown["tags"] == {"a": "b"}


async def test_protected_settings_are_sealed_and_never_shown(plane: ControlPlane) -> None:
    made = await _put(plane)
    place = made.headers["location"].partition("?")[0].removeprefix("https://management.arcgate.test")
    answers = [
        await plane.arm("GET", f"{PLACE}/AMA"),
        await plane.arm("GET", PLACE),
        await plane.arm("GET", place),
        await plane.arm("GET", f"{MACHINES}/server-1", query={"$expand": "instanceView"}),
    ]
    assert all(reply.status == 200 for reply in answers)
    assert not any(b"secret" in reply.body or b"protectedSettings" in reply.body for reply in answers)
    row = await _row(plane)
    assert row.protected_sealed is not None
    assert b"secret" not in row.protected_sealed
    opened = plane.context.sealer.open(row.protected_sealed, f"extension:{row.id}")
    assert json.loads(opened) == {"key": "very secret"}


async def test_put_replaces_and_patch_keeps(plane: ControlPlane) -> None:
    await _put(plane)
    patch = {"properties": {"enableAutomaticUpgrade": True}}
    assert (await plane.arm("PATCH", f"{PLACE}/AMA", patch)).status == 202
    properties = (await plane.arm("GET", f"{PLACE}/AMA")).json()["properties"]
    assert properties["enableAutomaticUpgrade"] is True
    assert properties["typeHandlerVersion"] == "1.10"
    assert (await _row(plane)).protected_sealed is not None
    echoed = {"location": "eastus", "properties": {**properties, "settings": None}}
    assert (await plane.arm("PUT", f"{PLACE}/AMA", echoed)).status == 202
    row = await _row(plane)
    assert row.protected_sealed is None
    assert "settings" not in row.properties
    assert "instanceView" not in row.properties
    assert row.tags == {}


async def test_extensions_are_listed_with_the_machine_and_among_resources(plane: ControlPlane) -> None:
    await _put(plane, "one")
    await _put(plane, "two")
    listed = (await plane.arm("GET", PLACE, query={"$top": "1"})).json()
    assert [one["name"] for one in listed["value"]] == ["one"]
    assert "nextLink" in listed
    expanded = (await plane.arm("GET", f"{MACHINES}/server-1", query={"$expand": "instanceView"})).json()
    assert [one["name"] for one in expanded["resources"]] == ["one", "two"]
    kind = "Microsoft.HybridCompute/machines/extensions"
    found = await plane.arm("GET", "resources", version="2024-11-01", query={"$filter": f"resourceType eq '{kind}'"})
    assert [one["name"] for one in found.json()["value"]] == ["server-1/one", "server-1/two"]
    assert (await plane.arm("GET", f"{MACHINES}/server-1", query={"$expand": "all"})).status == 400


async def test_extensions_go_one_by_one_or_with_their_machine(plane: ControlPlane) -> None:
    await _put(plane, "one")
    await _put(plane, "two")
    assert (await plane.arm("DELETE", f"{PLACE}/one")).status == 202
    assert (await plane.arm("DELETE", f"{PLACE}/one")).status == 204
    assert (await plane.arm("GET", f"{PLACE}/one")).code == "ResourceNotFound"
    assert (await plane.arm("DELETE", f"{MACHINES}/server-1")).status == 204
    async with plane.context.store.read() as session:
        assert (await session.execute(select(ExtensionRow))).first() is None


@pytest.mark.parametrize(
    "properties",
    [
        {"publisher": "p"},
        {"publisher": "p", "type": "t/u"},
        {"publisher": "p", "type": "t", "typeHandlerVersion": "latest"},
        {"publisher": "p", "type": "t", "settings": "text"},
        {"publisher": "p", "type": "t", "autoUpgradeMinorVersion": "yes"},
        {"publisher": "p", "type": "t", "settings": {"a": "x" * 300_000}},
        {"publisher": "p", "type": "t", "protectedSettings": {"a": "x" * 300_000}},
        {"publisher": "p", "type": "t", "unknown": 1},
    ],
)
async def test_a_wrong_extension_is_refused_and_nothing_is_kept(
    plane: ControlPlane, properties: dict[str, object]
) -> None:
    reply = await plane.arm("PUT", f"{PLACE}/x", {"location": "eastus", "properties": properties})
    assert (reply.status, reply.code) == (400, "InvalidRequestContent")
    assert (await plane.arm("GET", PLACE)).json() == {"value": []}


async def test_a_missing_machine_or_extension_is_not_found(plane: ControlPlane) -> None:
    assert (await plane.arm("PUT", f"{MACHINES}/none/extensions/x", BODY)).code == "ResourceNotFound"
    assert (await plane.arm("PATCH", f"{PLACE}/none", BODY)).code == "ResourceNotFound"


async def test_preconditions_hold_for_extensions(plane: ControlPlane) -> None:
    await _put(plane)
    tag = (await plane.arm("GET", f"{PLACE}/AMA")).headers["etag"]
    assert (await plane.arm("PUT", f"{PLACE}/AMA", BODY, headers={"If-None-Match": "*"})).status == 412
    assert (await plane.arm("PUT", f"{PLACE}/AMA", BODY, headers={"If-Match": tag})).status == 202
    assert (await plane.arm("DELETE", f"{PLACE}/AMA", headers={"If-Match": tag})).status == 412


async def test_roles_decide_who_manages_extensions(plane: ControlPlane) -> None:
    administrator = await plane.principal(MACHINE_ADMINISTRATOR)
    assert (await plane.arm("PUT", f"{PLACE}/x", BODY, caller=administrator)).status == 202
    for role in (ONBOARDING, READER):
        caller = await plane.principal(role)
        assert (await plane.arm("PUT", f"{PLACE}/x", BODY, caller=caller)).code == "AuthorizationFailed"
    assert (await plane.arm("GET", f"{PLACE}/x", caller=await plane.principal(READER))).status == 200
