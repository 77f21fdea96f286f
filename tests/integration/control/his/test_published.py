"""The entries in memory, beside another node of the control plane that writes to the same database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.control.changes import Changes
from arcgate.control.his.published import Published
from arcgate.control.store import Store, open_store
from arcgate.core.snapshot import Kind
from worlds.control_services import ControlServices, control_services
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def services(tmp_path: Path, database: Database) -> AsyncIterator[ControlServices]:
    async with control_services(tmp_path, database) as opened:
        yield opened


@pytest.fixture
async def other_node(services: ControlServices) -> AsyncIterator[Store]:
    """A store on the same database whose changes we don't hear of."""
    store = open_store(services.context.configuration, Changes())
    yield store
    await store.close()


async def publish(store: Store, key: str) -> int:
    async with store.write() as transaction:
        return await transaction.publish(Kind.GATEWAY, key, {"resourceId": "", "tenantId": "", "allowedFeatures": []})


async def test_a_change_of_our_own_is_seen_at_once(services: ControlServices) -> None:
    published = Published(services.context.store, services.context.changes)
    await published.refresh()
    await services.add_gateway(prefix="mine")
    await published.refresh()
    assert published.find(Kind.GATEWAY, "mine") is not None


async def test_a_revision_that_another_node_told_of_is_looked_for(services: ControlServices, other_node: Store) -> None:
    published = Published(services.context.store, services.context.changes)
    await published.refresh()
    revision = await publish(other_node, "theirs")
    await published.refresh(revision)
    assert published.find(Kind.GATEWAY, "theirs") is not None


async def test_another_nodes_change_is_seen_when_the_time_has_come(
    services: ControlServices, other_node: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published(services.context.store, services.context.changes)
    await published.refresh()
    await publish(other_node, "theirs")
    monkeypatch.setattr("arcgate.control.his.published.LONGEST_AGE", 0.0)
    await published.refresh()
    assert published.find(Kind.GATEWAY, "theirs") is not None


async def test_many_who_ask_at_once_share_one_reading(
    services: ControlServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published(services.context.store, services.context.changes)
    readings: list[None] = []
    read = published._read

    async def counted() -> None:
        readings.append(None)
        await read()

    monkeypatch.setattr(published, "_read", counted)
    await asyncio.gather(*(published.refresh() for _ in range(100)))
    assert len(readings) == 1


async def test_removed_keys_are_remembered_across_a_restart(services: ControlServices) -> None:
    row = await services.add_endpoint_set("own", "a.example")
    await services.remove_endpoint_set(row)
    fresh = Published(services.context.store, services.context.changes)
    await fresh.refresh()
    entry = fresh.find(Kind.ENDPOINT_SET, row.key)
    assert entry is not None
    assert entry.body is None
