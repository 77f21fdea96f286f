"""Two nodes of the control plane on one database: what one commits holds for the other, at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from arcgate.control.login.codes import approve_code, begin, normal_code, redeem
from arcgate.control.login.failures import GrantError
from arcgate.control.node.snapshots import newer_entries
from arcgate.control.store.database import read_revision
from arcgate.control.store.models import GatewayRow, Operation
from arcgate.core.snapshot import Kind
from worlds.asgi import ask
from worlds.control_plane import GATEWAYS, MACHINES, ControlPlane, control_plane, other_node
from worlds.databases import Database

pytestmark = pytest.mark.anyio

Nodes = tuple[ControlPlane, ControlPlane]
BODY = {"location": "eastus", "properties": {"allowedFeatures": ["*"]}}


@pytest.fixture
async def nodes(tmp_path: Path, database: Database) -> AsyncIterator[Nodes]:
    async with control_plane(tmp_path, database) as first, other_node(first, tmp_path / "second") as second:
        await first.group()
        yield first, second


async def test_a_resource_of_one_node_is_there_on_the_other(nodes: Nodes) -> None:
    first, second = nodes
    made = await first.gateway("gw")
    found = await second.arm("GET", f"{GATEWAYS}/gw")
    assert found.json() == made.json()
    assert found.headers["etag"] == made.headers["etag"]


async def test_an_operation_of_one_node_is_answered_by_the_other(nodes: Nodes) -> None:
    first, second = nodes
    made = await first.gateway("gw")
    place = made.headers["azure-asyncoperation"].split("arcgate.test", 1)[1]
    status = await ask(second.app, "GET", place, headers=second.admin.headers)
    assert status.json()["status"] == "Succeeded"


async def test_tokens_of_either_node_are_good_at_both(nodes: Nodes) -> None:
    first, second = nodes
    for maker, taker in (nodes, (second, first)):
        identity = await maker.sign_in(maker.admin.principal)
        assert (await taker.arm("GET", "resourceGroups", caller=identity, version="2024-11-01")).status == 200


async def test_parallel_creations_do_not_exceed_the_quota(nodes: Nodes) -> None:
    replies = await asyncio.gather(*(nodes[number % 2].gateway(f"gw-{number}") for number in range(16)))
    refused = [reply for reply in replies if reply.status != 201]
    assert len(refused) == 11
    assert {(reply.status, reply.code) for reply in refused} == {(409, "QuotaExceeded")}
    assert len((await nodes[1].arm("GET", GATEWAYS)).json()["value"]) == 5


async def test_parallel_puts_of_one_resource_make_one(nodes: Nodes) -> None:
    replies = await asyncio.gather(*(nodes[number % 2].gateway("gw") for number in range(10)))
    assert sorted(reply.status for reply in replies) == [*[200] * 9, 201]
    assert len({reply.json()["properties"]["gatewayId"] for reply in replies}) == 1


async def test_one_of_two_writers_with_the_same_etag_wins(nodes: Nodes) -> None:
    etag = (await nodes[0].gateway("gw")).headers["etag"]
    replies = await asyncio.gather(
        *(
            nodes[number % 2].arm(
                "PUT", f"{GATEWAYS}/gw", {**BODY, "tags": {"by": str(number)}}, headers={"If-Match": etag}
            )
            for number in range(8)
        )
    )
    assert sorted(reply.status for reply in replies) == [200, *[412] * 7]
    [winner] = [reply for reply in replies if reply.status == 200]
    assert (await nodes[1].arm("GET", f"{GATEWAYS}/gw")).json()["tags"] == winner.json()["tags"]


async def test_a_gateway_is_not_deleted_under_a_machine_that_comes(nodes: Nodes) -> None:
    for attempt in range(5):
        gateway = (await nodes[0].gateway(f"gw-{attempt}")).json()["id"]
        assert (await nodes[0].machine(f"server-{attempt}")).status == 200
        association, deletion = await asyncio.gather(
            nodes[0].associate(f"server-{attempt}", gateway), nodes[1].arm("DELETE", f"{GATEWAYS}/gw-{attempt}")
        )
        assert (association.status, deletion.status) in {(200, 409), (404, 202)}


async def test_a_device_code_is_good_once_whichever_node_is_asked(nodes: Nodes) -> None:
    first, second = nodes
    code = await begin(first.context, first.tenant_id, "client", "audience", "scope", "127.0.0.1")
    user_code = normal_code(code.user_code)
    answers = await asyncio.gather(
        *(approve_code(node.context, user_code, node.admin.principal.id, node.tenant_id) for node in nodes)
    )
    assert sorted(answers) == [False, True]

    async def take(node: ControlPlane) -> bool:
        try:
            await redeem(node.context, code.device_code, "client")
        except GrantError:
            return False
        return True

    assert sum(await asyncio.gather(*(take(nodes[number % 2]) for number in range(8)))) == 1
    assert second.context.store is not first.context.store


async def test_revisions_follow_each_other_without_gaps(nodes: Nodes) -> None:
    async with nodes[0].context.store.read() as session:
        before = await read_revision(session)

    async def write(number: int) -> int:
        async with nodes[number % 2].context.store.write() as transaction:
            return await transaction.publish(Kind.GATEWAY, f"gw{number}", {})

    made = await asyncio.gather(*(write(number) for number in range(30)))
    assert sorted(made) == list(range(before + 1, before + 31))


async def test_no_reader_misses_an_entry_while_others_write(nodes: Nodes) -> None:
    first, second = nodes
    async with first.context.store.read() as session:
        after = before = await read_revision(session)
    seen: list[int] = []

    async def write() -> None:
        for number in range(40):
            async with first.context.store.write() as transaction:
                await transaction.publish(Kind.GATEWAY, f"gw{number}", {})

    async def follow() -> None:
        nonlocal after
        while len(seen) < 40:
            if document := await newer_entries(second.context, after, 0):
                seen.extend(entry["revision"] for entry in document["entries"])
                after = document["revision"]

    async with asyncio.timeout(30):
        await asyncio.gather(write(), follow())
    assert seen == list(range(before + 1, before + 41))


async def test_nothing_is_left_unfinished_by_a_request_that_fails_half_way(nodes: Nodes) -> None:
    first, second = nodes
    assert (await first.gateway("gw")).status == 201
    assert (await first.arm("PUT", f"{GATEWAYS}/bad", {"location": "nowhere"})).status == 400
    async with second.context.store.read() as session:
        assert (await session.execute(select(func.count()).select_from(GatewayRow))).scalar_one() == 1
        operations = (await session.execute(select(Operation))).scalars().all()
    assert [operation.status for operation in operations] == ["Succeeded"]


async def test_the_same_answers_come_from_a_machine_that_either_node_made(nodes: Nodes) -> None:
    first, second = nodes
    vm_id = (await first.machine("server-1")).json()["properties"]["vmId"]
    again = await second.machine("server-1", vmId="99999999-9999-4999-8999-999999999999")
    assert (again.status, again.code) == (409, "MachineIdentityConflict")
    taken = await second.machine("server-2", vmId=vm_id)
    assert (taken.status, taken.code) == (409, "VmIdInUse")
    assert (await second.arm("DELETE", f"{MACHINES}/server-1")).status == 204
    assert (await first.arm("GET", f"{MACHINES}/server-1")).status == 404
