"""Grants of connections to machines: who gets one, what it is good for, and when a connection must end."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from arcgate.control.arm.roles import ADMINISTRATOR_LOGIN, BUILT_IN, USER_LOGIN
from arcgate.control.node.secret import load_node_secret
from arcgate.control.store.models import IncomingConnection
from arcgate.core.audit import AuditRecord, Event
from worlds.asgi import Reply, ask
from worlds.control_plane import MACHINES, ControlPlane, Identity, control_plane
from worlds.databases import Database
from worlds.waiting import settled

pytestmark = pytest.mark.anyio

VERSION = "2026-11-01"
MACHINE = f"{MACHINES}/server-1"
NODE = "/node/v1/incomingConnections"


@dataclass
class World:
    """A control plane with a machine that has a gateway, and Ann, who may log in to it."""

    plane: ControlPlane
    machine_id: str
    ann: Identity

    async def grant(self, who: Identity | None = None, port: int = 22, machine: str = MACHINE) -> Reply:
        path = f"{machine}/grantIncomingConnection"
        return await self.plane.arm("POST", path, {"port": port}, caller=who or self.ann, version=VERSION)

    async def node(self, method: str, path: str, document: Any = None) -> Reply:
        headers = {"Authorization": f"Bearer {load_node_secret(self.plane.context.configuration)}"}
        return await ask(self.plane.app, method, path, document=document, headers=headers)

    async def redeem(self, valid: str, **more: Any) -> Reply:
        usual = {"grant": valid, "machineId": self.machine_id, "port": 22, "tunnelId": str(uuid.uuid4())}
        return await self.node("POST", NODE, {**usual, **more})

    async def connected(self) -> str:
        """Return the tunnel of a connection of Ann's."""
        tunnel, grant = str(uuid.uuid4()), (await self.grant()).json()["grant"]
        assert (await self.redeem(grant, tunnelId=tunnel)).status == 200
        return tunnel

    async def cut_of(self, tunnel: str, wait: int = 0) -> str:
        """Return why a connection must end, empty while it may go on."""
        reply = await self.node("GET", f"{NODE}/{tunnel}?wait={wait}")
        return str(reply.json()["cut"]) if reply.status == 200 else ""


@asynccontextmanager
async def world_of(folder: Path, database: Database | None = None) -> AsyncIterator[World]:
    async with control_plane(folder, database) as plane:
        await plane.group()
        gateway = (await plane.gateway()).json()
        machine = (await plane.machine()).json()
        await plane.associate("server-1", gateway["id"])
        scope = f"/subscriptions/{plane.subscription_id}/{MACHINE}"
        ann = await plane.principal(USER_LOGIN, scope, kind="User")
        yield World(plane, machine["properties"]["vmId"], ann)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as made:
        yield made


@pytest.fixture
async def world_on_any_database(tmp_path: Path, database: Database) -> AsyncIterator[World]:
    async with world_of(tmp_path, database) as made:
        yield made


async def test_a_grant_names_machine_gateway_and_end(world: World) -> None:
    reply = await world.grant()
    assert reply.status == 200
    document = reply.json()
    assert len(document["grant"]) == 43
    assert (document["machineId"], document["port"]) == (world.machine_id, 22)
    assert document["gateway"]["host"].endswith(".gw.arcgate.test")
    assert reply.headers["cache-control"] == "no-store"


async def test_only_the_login_roles_permit_connections(world: World) -> None:
    for role in BUILT_IN:
        somebody = await world.plane.principal(role)
        reply = await world.grant(somebody)
        assert reply.status == (200 if role in (USER_LOGIN, ADMINISTRATOR_LOGIN) else 403), role.name
        assert reply.status == 200 or "Virtual Machine User Login" in str(reply.json())


async def test_a_role_at_one_machine_says_nothing_of_another(world: World) -> None:
    await world.plane.machine("server-10")
    assert (await world.grant(machine=f"{MACHINES}/server-10")).status == 403


async def test_a_machine_without_a_gateway_can_not_be_connected_to(world: World) -> None:
    await world.plane.associate("server-1", None)
    reply = await world.grant()
    assert (reply.status, reply.code) == (409, "GatewayNeeded")


async def test_a_port_is_a_port(world: World) -> None:
    for port in (0, 65_536, "22", None):
        path = f"{MACHINE}/grantIncomingConnection"
        reply = await world.plane.arm("POST", path, {"port": port}, caller=world.ann, version=VERSION)
        assert reply.status == 400


async def test_a_grant_is_good_once_and_tells_who_has_it(world_on_any_database: World) -> None:
    world = world_on_any_database
    grant = (await world.grant()).json()["grant"]
    first = await world.redeem(grant)
    assert first.json() == {"requester": f"{world.ann.principal.login} {world.ann.principal.id}"}
    second = await world.redeem(grant)
    assert (second.status, second.code) == (403, "GrantInvalid")


async def test_a_grant_is_for_its_machine_and_port_alone(world: World) -> None:
    grant = (await world.grant()).json()["grant"]
    for more in ({"port": 23}, {"machineId": "0a1b2c3d-0000-4000-8000-00000000000f"}):
        assert (await world.redeem(grant, **more)).status == 403
    assert (await world.redeem(grant)).status == 200


async def test_a_malformed_question_is_refused(world: World) -> None:
    grant = (await world.grant()).json()["grant"]
    questions: list[dict[str, Any]] = [{"grant": "x"}, {"port": True}, {"tunnelId": 5}, {"machineId": "x" * 36}]
    for more in questions:
        assert (await world.redeem(grant, **more)).status == 400


async def test_a_grant_ends_by_itself_and_is_forgotten(world_on_any_database: World) -> None:
    world = world_on_any_database
    grant = (await world.grant()).json()["grant"]
    world.plane.clock.advance(seconds=61)
    assert (await world.redeem(grant)).status == 403
    await world.grant()
    async with world.plane.context.store.read() as session:
        rows = (await session.execute(select(IncomingConnection))).scalars().all()
    assert len(rows) == 1


async def test_a_grant_is_worth_nothing_without_its_role(world: World) -> None:
    grant = (await world.grant()).json()["grant"]
    await take_roles(world)
    assert (await world.redeem(grant)).status == 403


async def take_roles(world: World) -> None:
    path = f"{MACHINE}/providers/Microsoft.Authorization/roleAssignments"
    listed = (await world.plane.arm("GET", path, version="2022-04-01")).json()["value"]
    for one in listed:
        if one["properties"]["principalId"] == world.ann.principal.id:
            assert (await world.plane.arm("DELETE", one["id"], version="2022-04-01")).status == 200


async def test_a_connection_goes_on_until_its_role_is_gone(world_on_any_database: World) -> None:
    world = world_on_any_database
    tunnel = await world.connected()
    assert await world.cut_of(tunnel) == ""
    waiting = asyncio.gather(world.cut_of(tunnel, 20))
    await settled()
    await take_roles(world)
    assert list(await waiting) == ["access_revoked"]


async def test_an_operator_cuts_all_connections_or_one(world_on_any_database: World) -> None:
    world = world_on_any_database
    one, two, three = [await world.connected() for _ in range(3)]
    path = f"{MACHINE}/cutIncomingConnections"
    reply = await world.plane.arm("POST", path, {"tunnelId": one}, version=VERSION)
    assert reply.json() == {"cut": 1}
    assert [await world.cut_of(tunnel) for tunnel in (one, two)] == ["cut_by_operator", ""]
    assert (await world.plane.arm("POST", path, {}, version=VERSION)).json() == {"cut": 2}
    assert await world.cut_of(three) == "cut_by_operator"
    assert (await world.plane.arm("POST", path, {}, caller=world.ann, version=VERSION)).status == 403


async def test_connections_end_with_their_machine(world: World) -> None:
    tunnel = await world.connected()
    assert (await world.plane.arm("DELETE", MACHINE)).status == 204
    assert await world.cut_of(tunnel) == "access_revoked"


@pytest.mark.parametrize("event", [Event.END, Event.REFUSAL])
async def test_a_connection_that_has_ended_or_never_began_is_not_cut_and_not_kept(
    world_on_any_database: World, event: Event
) -> None:
    world = world_on_any_database
    tunnel = await world.connected()
    end = AuditRecord(
        *(event, tunnel, "c", "2026-01-01T00:00:00Z", "n", world.machine_id, "", "", "", "", "", "127.0.0.1:22"),
        *("", "", "", "allowed", "completed", "", 1),
    )
    assert (await world.node("POST", "/node/v1/audit", {"records": [end.to_json()]})).json() == {"accepted": 1}
    reply = await world.plane.arm("POST", f"{MACHINE}/cutIncomingConnections", {}, version=VERSION)
    assert reply.json() == {"cut": 0}
    await world.grant()
    assert await world.cut_of(tunnel) == "access_revoked"
