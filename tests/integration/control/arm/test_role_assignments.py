import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.control.arm.roles import CONTRIBUTOR, OWNER, READER
from worlds.asgi import Reply
from worlds.control_plane import GATEWAYS, ControlPlane, Identity, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio

ROLES = "providers/Microsoft.Authorization/roleAssignments"
VERSION = "2022-04-01"


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def _assign(
    plane: ControlPlane, who: Identity, role_id: str, place: str = "", by: Identity | None = None
) -> Reply:
    body = {"properties": {"roleDefinitionId": f"/x/roleDefinitions/{role_id}", "principalId": who.principal.id}}
    return await plane.arm("PUT", f"{place}{ROLES}/{uuid.uuid4()}", body, caller=by, version=VERSION)


async def test_an_assignment_counts_at_once_and_its_removal_too(plane: ControlPlane) -> None:
    somebody = await plane.principal()
    made = await _assign(plane, somebody, READER.id, "resourceGroups/servers/")
    assert made.status == 201
    assert (await plane.arm("GET", GATEWAYS, caller=somebody)).status == 200
    listed = await plane.arm("GET", f"resourceGroups/servers/{ROLES}", version=VERSION)
    assert made.json()["name"] in [one["name"] for one in listed.json()["value"]]
    assert (await plane.arm("DELETE", made.json()["id"], version=VERSION)).status == 200
    assert (await plane.arm("DELETE", made.json()["id"], version=VERSION)).status == 204
    assert (await plane.arm("GET", GATEWAYS, caller=somebody)).status == 404


async def test_only_who_may_give_roles_gives_them(plane: ControlPlane) -> None:
    somebody = await plane.principal()
    contributor = await plane.principal(CONTRIBUTOR)
    group_owner = await plane.principal(OWNER, f"/subscriptions/{plane.subscription_id}/resourceGroups/servers")
    assert (await _assign(plane, somebody, OWNER.id, by=contributor)).status == 403
    assert (await _assign(plane, group_owner, OWNER.id, by=group_owner)).status == 403
    assert (await _assign(plane, somebody, OWNER.id, "resourceGroups/servers/", by=group_owner)).status == 201


async def test_an_assignment_above_is_not_deleted_through_a_path_below(plane: ControlPlane) -> None:
    somebody = await plane.principal()
    made = (await _assign(plane, somebody, READER.id)).json()
    group_owner = await plane.principal(OWNER, f"/subscriptions/{plane.subscription_id}/resourceGroups/servers")
    path = f"resourceGroups/servers/{ROLES}/{made['name']}"
    assert (await plane.arm("DELETE", path, caller=group_owner, version=VERSION)).status == 204
    assert (await plane.arm("GET", made["id"], version=VERSION)).status == 200


async def test_assignments_have_one_of_a_kind_and_known_parts(plane: ControlPlane) -> None:
    somebody = await plane.principal()
    stranger, _ = await plane.other_tenant()
    assert (await _assign(plane, somebody, READER.id)).status == 201
    assert (await _assign(plane, somebody, READER.id)).code == "RoleAssignmentExists"
    assert (await _assign(plane, somebody, str(uuid.uuid4()))).code == "RoleDefinitionDoesNotExist"
    assert (await _assign(plane, stranger, READER.id)).code == "PrincipalNotFound"


async def test_definitions_show_their_actions(plane: ControlPlane) -> None:
    path = "providers/Microsoft.Authorization/roleDefinitions"
    listed = (await plane.arm("GET", path, version=VERSION)).json()["value"]
    assert "Arc Gateway Manager" in [one["properties"]["roleName"] for one in listed]
    one = await plane.arm("GET", path, version=VERSION, query={"$filter": "roleName eq 'reader'"})
    assert [role["name"] for role in one.json()["value"]] == [READER.id]
