import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from arcgate.control.building import open_control, utc_now
from arcgate.control.changes import Changes
from arcgate.control.store import Store, open_store
from arcgate.control.store.bootstrap import bootstrap
from arcgate.control.store.database import read_entries, read_revision
from arcgate.control.store.migrations import upgrade
from arcgate.control.store.models import Base, GatewayRow, Principal, SettingRow, Tenant
from arcgate.core.configuration import Configuration, DatabaseSettings
from arcgate.core.errors import StateError
from arcgate.core.snapshot import Kind
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def configuration(tmp_path: Path, database: Database) -> Configuration:
    return Configuration(state_dir=tmp_path, database=DatabaseSettings(url=database.url(tmp_path)))


@pytest.fixture
async def store(configuration: Configuration) -> AsyncIterator[Store]:
    made = open_store(configuration, Changes())
    await upgrade(made)
    yield made
    await made.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(Configuration(state_dir=tmp_path), Changes())
    await upgrade(made)
    yield made
    await made.close()


async def test_migrations_make_exactly_the_models_tables(store: Store) -> None:
    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with store.engine.connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_migrating_twice_changes_nothing(store: Store) -> None:
    async with store.write() as transaction:
        await transaction.revision()
    await upgrade(store)
    async with store.read() as session:
        assert await read_revision(session) == 1


async def test_a_newer_database_is_refused(store: Store) -> None:
    async with store.writing_connection() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StateError) as caught:
        await upgrade(store)
    assert caught.value.code == "DATABASE_NEWER"
    async with store.read() as session:
        assert await read_revision(session) == 0


async def test_foreign_keys_are_checked(store: Store) -> None:
    with pytest.raises(IntegrityError):
        async with store.write() as transaction:
            transaction.session.add(SettingRow(machine_id="none", gateway_id=None))


async def test_sqlite_is_durable(sqlite: Store) -> None:
    async with sqlite.read() as session:
        answers = [(await session.execute(text(f"PRAGMA {name}"))).scalar_one() for name in PRAGMAS]
    assert answers == ["wal", 2, 1]


PRAGMAS = ("journal_mode", "synchronous", "foreign_keys")


async def test_the_database_file_is_ours_alone(sqlite: Store, tmp_path: Path) -> None:
    path = tmp_path / "control" / "control.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_transaction_has_one_revision_and_wakes_after_the_commit(store: Store) -> None:
    ticket = store.changes.ticket("entries", "gateway:a")
    async with store.write() as transaction:
        first = await transaction.publish(Kind.GATEWAY, "a", {"n": 1})
        second = await transaction.publish(Kind.GATEWAY, "b", {"n": 2})
        transaction.announce("gateway:a")
        assert not await store.changes.wait(ticket, 0)
    assert first == second == 1
    assert await store.changes.wait(ticket, 0)


async def test_a_failed_transaction_leaves_and_tells_nothing(store: Store) -> None:
    ticket = store.changes.ticket("entries")

    async def fail() -> None:
        async with store.write() as transaction:
            await transaction.publish(Kind.GATEWAY, "a", {"n": 1})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.read() as session:
        assert await read_entries(session, 0) == (0, [])
    assert not await store.changes.wait(ticket, 0)


async def test_entries_after_a_revision_are_its_news(store: Store) -> None:
    for body in ({"n": 1}, {"n": 2}, None):
        async with store.write() as transaction:
            await transaction.publish(Kind.GATEWAY, "a", body)
    async with store.write() as transaction:
        await transaction.publish(Kind.GATEWAY, "b", {"n": 3})
    async with store.read() as session:
        revision, everything = await read_entries(session, 0)
        _, news = await read_entries(session, 2)
    assert revision == 4
    assert [entry.key for entry in everything] == ["b"]
    assert [(entry.key, entry.revision, entry.body) for entry in news] == [("a", 3, None), ("b", 4, {"n": 3})]


async def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    async with store.read() as session:
        assert await read_entries(session, 0) == (0, [])
        async with store.write() as transaction:
            await transaction.publish(Kind.GATEWAY, "a", {})
        assert await read_entries(session, 0) == (0, [])
    async with store.read() as session:
        assert await read_revision(session) == 1


async def test_parallel_writers_make_distinct_revisions(store: Store) -> None:
    async def write(number: int) -> int:
        async with store.write() as transaction:
            return await transaction.publish(Kind.GATEWAY, f"g{number}", {})

    assert sorted(await asyncio.gather(*(write(number) for number in range(20)))) == list(range(1, 21))


async def test_two_processes_do_not_lose_each_others_writes(configuration: Configuration, store: Store) -> None:
    other = open_store(configuration, Changes())

    async def write(one: Store, number: int) -> int:
        async with one.write() as transaction:
            return await transaction.publish(Kind.GATEWAY, f"g{number}", {})

    try:
        made = await asyncio.gather(*(write((store, other)[number % 2], number) for number in range(10)))
    finally:
        await other.close()
    assert sorted(made) == list(range(1, 11))


async def test_the_first_start_makes_tenant_admin_and_cloud_once(configuration: Configuration) -> None:
    async with open_control(configuration) as context, context.store.read() as session:
        tenant = (await session.execute(select(Tenant))).scalar_one()
        _, entries = await read_entries(session, 0)
    path = configuration.state_dir / "secrets" / "initial-admin.json"
    first = json.loads(path.read_text(encoding="utf-8"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first["tenantId"] == tenant.id
    assert first["user"] == "admin@arcgate.test"
    [cloud] = entries
    assert cloud.body is not None
    assert "*.his.arcgate.test" in cloud.body["controlHosts"]
    async with open_control(configuration) as context:
        await bootstrap(configuration, context.store, utc_now())
        async with context.store.read() as session:
            assert len((await session.execute(select(Principal))).scalars().all()) == 1
            assert await read_revision(session) == cloud.revision
    assert json.loads(path.read_text(encoding="utf-8")) == first


async def test_a_changed_port_is_published_at_the_next_start(configuration: Configuration) -> None:
    async with open_control(configuration):
        pass
    moved = configuration.model_copy(update={"cloud": configuration.cloud.model_copy(update={"public_port": 8443})})
    async with open_control(moved) as context, context.store.read() as session:
        _, [cloud] = await read_entries(session, 0)
    assert cloud.body is not None
    assert "management.arcgate.test:8443" in cloud.body["controlHosts"]


async def test_a_lost_master_key_is_noticed_at_the_start(configuration: Configuration) -> None:
    async with open_control(configuration):
        pass
    (configuration.state_dir / "secrets" / "master.key").unlink()
    with pytest.raises(StateError) as caught:
        async with open_control(configuration):
            pass
    assert caught.value.code == "MASTER_KEY_DIFFERS"


async def test_no_secret_stands_in_the_database_in_clear(tmp_path: Path) -> None:
    configuration = Configuration(state_dir=tmp_path)
    async with open_control(configuration):
        pass
    first = json.loads((configuration.state_dir / "secrets" / "initial-admin.json").read_text(encoding="utf-8"))
    content = b"".join(path.read_bytes() for path in (configuration.state_dir / "control").glob("control.sqlite*"))
    assert first["password"].encode() not in content
    assert b"PRIVATE KEY" not in content
    assert b"argon2id" in content


async def test_times_come_back_in_utc_and_need_a_zone(store: Store) -> None:
    from arcgate.control.store.models import KeyRow

    now = utc_now()
    async with store.write() as transaction:
        transaction.session.add(
            KeyRow(id="k", purpose="p", private_sealed=b"", public="", certificate="", created_at=now, not_after=None)
        )
    async with store.read() as session:
        assert (await session.get_one(KeyRow, "k")).created_at == now
        assert (await session.execute(select(GatewayRow))).all() == []
