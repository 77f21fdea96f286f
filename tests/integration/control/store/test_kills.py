"""kill -9 of nodes in the middle of creations and deletions: nothing half done, nothing stuck, no quota lost.

There is no work to take over: an operation, its resource and what other nodes must see of it are one transaction,
and the answer comes after the commit. The tests would find a lease to be missing.
"""

import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from arcgate.control.store.database import read_revision
from arcgate.control.store.models import EntryRow, GatewayRow, Operation
from arcgate.core.snapshot import Kind
from worlds.asgi import ask
from worlds.control_plane import GATEWAYS, ControlPlane, control_plane
from worlds.databases import Database
from worlds.killed_node import Killer, Work, killer
from worlds.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

KILLS = 20
_LINE = re.compile(
    r"(?P<what>asks|got) (?P<method>PUT|DELETE) (?P<name>\S+)(?: (?P<status>[0-9]+) (?P<operation>\S+))?\n"
)
DONE = {"201", "200", "202", "204"}


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    """The node that stays."""
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def test_a_killed_node_leaves_nothing_half_done(plane: ControlPlane, tmp_path: Path) -> None:
    chance = random.Random(20)
    with killer(tmp_path / "log") as nodes:
        for number in range(KILLS):
            journal = await _killed_run(nodes, plane, tmp_path, number, chance.randrange(1, 40))
            await _check_resources(plane, journal)
            await _check_operations(plane, journal)
            await _check_what_nodes_see(plane)
            assert (await plane.group()).status == 200, "the others can write at once"
    await _check_quota(plane)


async def _killed_run(
    nodes: Killer, plane: ControlPlane, folder: Path, number: int, answers: int
) -> list[re.Match[str]]:
    """Let a node work until it has given so many answers, kill it, and return its journal."""
    configuration, journal = plane.context.configuration.model_dump_json(), folder / f"journal-{number}"
    group = f"/subscriptions/{plane.subscription_id}/resourceGroups/servers"
    pid = nodes.start(Work(configuration, group, plane.admin.headers, str(journal), number))
    journal.touch()
    try:
        await until(lambda: journal.read_bytes().count(b"got ") >= answers, 60, what=(folder / "log").read_text())
    finally:
        nodes.kill(pid)
    lines = journal.read_text(encoding="ascii").splitlines(keepends=True)
    matches = [_LINE.match(line) for line in lines]
    assert None not in matches
    return [match for match in matches if match is not None]


async def _check_resources(plane: ControlPlane, journal: list[re.Match[str]]) -> None:
    """What was acknowledged last is so, unless a later request was under way."""
    known: dict[str, bool] = {}
    under_way: set[str] = set()
    for line in journal:
        if line["what"] == "asks":
            under_way.add(line["name"])
            continue
        under_way.discard(line["name"])
        if line["status"] in DONE:
            known[line["name"]] = line["method"] == "PUT"
        else:
            assert (line["method"], line["status"]) == ("PUT", "409"), line[0]
    there = {one["name"] for one in (await plane.arm("GET", GATEWAYS)).json()["value"]}
    for name, is_there in known.items():
        assert name in under_way or (name in there) == is_there, name


async def _check_operations(plane: ControlPlane, journal: list[re.Match[str]]) -> None:
    async with plane.context.store.read() as session:
        rows = (await session.execute(select(Operation))).scalars().all()
    assert all(row.status == "Succeeded" and row.ended_at is not None for row in rows)
    acknowledged = [line["operation"] for line in journal if line["operation"] not in (None, "-")]
    assert acknowledged
    for url in acknowledged:
        reply = await ask(plane.app, "GET", url.split("arcgate.test", 1)[1], headers=plane.admin.headers)
        assert (reply.status, reply.json()["status"]) == (200, "Succeeded")


async def _check_what_nodes_see(plane: ControlPlane) -> None:
    async with plane.context.store.read() as session:
        gateways = (await session.execute(select(GatewayRow))).scalars().all()
        entries = (await session.execute(select(EntryRow).where(EntryRow.kind == Kind.GATEWAY.value))).scalars().all()
        newest = await read_revision(session)
    published = {entry.key: entry.body["resourceId"] for entry in entries if entry.body is not None}
    assert published == {gateway.prefix: gateway.resource_id for gateway in gateways}
    assert max(entry.revision for entry in entries) <= newest


async def _check_quota(plane: ControlPlane) -> None:
    statuses = [(await plane.gateway(f"more-{number}")).status for number in range(6)]
    assert statuses.count(409) >= 1
    assert len((await plane.arm("GET", GATEWAYS)).json()["value"]) == 5
