"""What only PostgreSQL has: notices between nodes, a server that goes and comes back, nodes that get stuck."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import InternalError, OperationalError

from arcgate.control.building import open_control, utc_now
from arcgate.control.changes import Changes
from arcgate.control.node.snapshots import newer_entries
from arcgate.control.store import Store, open_store, postgresql
from arcgate.control.store.bootstrap import bootstrap
from arcgate.control.store.database import read_revision
from arcgate.control.store.migrations import upgrade
from arcgate.control.store.notices import CHANNEL
from arcgate.core.configuration import Configuration, DatabaseSettings
from arcgate.core.errors import StateError
from arcgate.core.snapshot import Kind
from arcgate.net.tasks import spawn
from worlds.control_plane import GATEWAYS, ControlPlane, control_plane, other_node
from worlds.databases import Database
from worlds.postgresql import ESCAPED, PASSWORD, PostgresServer
from worlds.waiting import until

pytestmark = pytest.mark.anyio

Nodes = tuple[ControlPlane, ControlPlane]
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'arcgate' AND datname = {}"
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = {}"


@pytest.fixture
def name(postgresql: Database, tmp_path: Path) -> str:
    """The database of the nodes."""
    return postgresql.name(tmp_path / "state")


@pytest.fixture
async def plane(tmp_path: Path, postgresql: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, postgresql) as made:
        await made.group()
        yield made


@pytest.fixture
async def nodes(plane: ControlPlane, tmp_path: Path, name: str, postgres: PostgresServer) -> AsyncIterator[Nodes]:
    async with other_node(plane, tmp_path / "second") as second:
        await until(lambda: len(_listeners(postgres, name)) == 2, what="both nodes listen")
        yield plane, second


def _listeners(server: PostgresServer, name: str) -> list[int]:
    return [pid for (pid,) in server.run(sql.SQL(LISTENERS).format(name))]


async def _newest(plane: ControlPlane) -> int:
    async with plane.context.store.read() as session:
        return await read_revision(session)


async def _publish(store: Store, key: str, *topics: str) -> int:
    async with store.write() as transaction:
        transaction.announce(*topics)
        return await transaction.publish(Kind.GATEWAY, key, {})


@contextmanager
def _lock_held(server: PostgresServer, name: str) -> Iterator[None]:
    """A writer elsewhere that does not come to its end."""
    with psycopg.connect(server.url(name).replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.SQL("SELECT pg_advisory_lock({})").format(postgresql.WRITERS_LOCK))
        yield


# Notices


async def test_a_long_poll_at_one_node_is_answered_by_a_change_at_the_other(nodes: Nodes) -> None:
    first, second = nodes
    waiting = spawn("poll", newer_entries(second.context, await _newest(second), 3600))
    await until(lambda: second.context.changes.waiters > 0)
    assert (await first.gateway("gw")).status == 201
    async with asyncio.timeout(30):
        document = await waiting
    assert document is not None
    assert [entry["kind"] for entry in document["entries"]] == ["gateway"]


async def test_topics_wake_those_alone_who_wait_for_them(nodes: Nodes) -> None:
    first, second = nodes
    wanted, other = (second.context.changes.ticket(topic) for topic in ("gateway:a", "gateway:b"))
    await _publish(first.context.store, "a", "gateway:a")
    assert await second.context.changes.wait(wanted, 30)
    assert not await second.context.changes.wait(other, 0)


async def test_more_topics_than_a_notice_holds_wake_everybody(nodes: Nodes) -> None:
    first, second = nodes
    ticket = second.context.changes.ticket("gateway:unheard-of")
    await _publish(first.context.store, "a", *(f"machine:{number:036}" for number in range(1000)))
    assert await second.context.changes.wait(ticket, 30)


@pytest.mark.parametrize("payload", ["", "nonsense", "é", "0" * 32, f"{'0' * 32} ", "x" * 7000])
async def test_a_notice_that_we_did_not_write_only_makes_us_look(
    nodes: Nodes, postgres: PostgresServer, name: str, payload: str
) -> None:
    ticket = nodes[0].context.changes.ticket("gateway:a")
    postgres.run(sql.SQL("SELECT pg_notify({}, {})").format(CHANNEL, payload), name)
    assert await nodes[0].context.changes.wait(ticket, 30)


async def test_a_transaction_that_is_rolled_back_tells_nothing(nodes: Nodes) -> None:
    first, second = nodes
    ticket = second.context.changes.ticket("gateway:a")

    async def fail() -> None:
        async with first.context.store.write() as transaction:
            await transaction.publish(Kind.GATEWAY, "a", {})
            transaction.announce("gateway:a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    after = second.context.changes.ticket("gateway:b")
    await _publish(first.context.store, "b", "gateway:b")
    assert await second.context.changes.wait(after, 30)
    assert not await second.context.changes.wait(ticket, 0)


async def test_a_node_that_lost_its_connection_wakes_everybody_when_it_listens_again(
    nodes: Nodes, postgres: PostgresServer, name: str
) -> None:
    first, second = nodes
    waiting = [spawn("poll", second.context.changes.wait(second.context.changes.ticket("gateway:a"), 3600))]
    waiting.append(spawn("poll", first.context.changes.wait(first.context.changes.ticket("gateway:b"), 3600)))
    await until(lambda: second.context.changes.waiters == first.context.changes.waiters == 1)
    for pid in _listeners(postgres, name):
        postgres.run(sql.SQL("SELECT pg_terminate_backend({})").format(pid))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiting) == [True, True]


# A server that goes and comes back


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_restart_of_the_server_is_survived_without_a_hand(
    plane: ControlPlane, postgres: PostgresServer, how: signal.Signals
) -> None:
    assert (await plane.gateway("before")).status == 201
    changes = plane.context.changes
    waiting = spawn("poll", changes.wait(changes.ticket("gateway:a"), 3600))
    postgres.stop(how)
    try:
        refused = await plane.gateway("during")
        assert (refused.status, refused.code) == (503, "ServerBusy")
        assert refused.headers["retry-after"] == "5"
        assert (await plane.arm("GET", GATEWAYS)).status == 503
    finally:
        postgres.start()
    assert (await plane.gateway("after")).status == 201
    names = [one["name"] for one in (await plane.arm("GET", GATEWAYS)).json()["value"]]
    assert names == ["after", "before"]
    async with asyncio.timeout(30):
        assert await waiting


async def test_acknowledged_writes_survive_a_crash_of_the_server(plane: ControlPlane, postgres: PostgresServer) -> None:
    acknowledged: list[int] = []

    async def write() -> None:
        number = 0
        while True:
            number += 1
            await _publish(plane.context.store, f"gw{number}")
            acknowledged.append(number)

    writing = spawn("writer", write())
    await until(lambda: len(acknowledged) > 50, 30)
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    with pytest.raises(OperationalError):
        await writing
    kept = {entry.key for entry in await plane.entries(Kind.GATEWAY)}
    assert kept >= {f"gw{number}" for number in acknowledged}
    assert len(kept) <= len(acknowledged) + 1


# Nodes that get stuck


async def test_a_writer_that_waits_too_long_says_so(
    tmp_path: Path, postgresql: Database, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcgate.control.store.postgresql._SETTINGS", "SET lock_timeout TO '200ms'")
    async with control_plane(tmp_path, postgresql) as plane:
        with _lock_held(postgres, postgresql.name(tmp_path / "state")):
            reply = await plane.group()
            assert (reply.status, reply.code) == (503, "ServerBusy")
            assert (await plane.arm("GET", "resourceGroups", version="2024-11-01")).status == 200
        assert (await plane.group()).status == 201


async def test_a_node_that_stops_in_the_middle_of_a_write_does_not_stop_the_others(
    tmp_path: Path, postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "SET idle_in_transaction_session_timeout TO '300ms'"
    monkeypatch.setattr("arcgate.control.store.postgresql._SETTINGS", settings)
    async with control_plane(tmp_path, postgresql) as first, other_node(first, tmp_path / "second") as second:

        async def stop_half_way() -> None:
            async with first.context.store.write() as transaction:
                await transaction.publish(Kind.GATEWAY, "lost", {})
                await _publish(second.context.store, "kept")

        with pytest.raises((InternalError, OperationalError)):
            await stop_half_way()
        assert [entry.key for entry in await first.entries(Kind.GATEWAY)] == ["kept"]
        assert (await first.group()).status == 201


async def test_more_requests_than_connections_are_all_answered(tmp_path: Path, postgresql: Database) -> None:
    async with control_plane(tmp_path, postgresql, connections=2) as plane:
        replies = await asyncio.gather(*(plane.group(f"group-{number}") for number in range(40)))
    assert {reply.status for reply in replies} == {201}


async def test_a_server_that_does_not_answer_holds_no_request_for_ever(
    plane: ControlPlane, postgres: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcgate.control.store.database.LONGEST_TRANSACTION", 0.3)
    backends = [pid for (pid,) in postgres.run(sql.SQL(BACKENDS).format(name))]
    assert backends
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        reply = await plane.gateway("gw")
        assert (reply.status, reply.code) == (503, "ServerBusy")
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    assert (await plane.gateway("gw")).status == 201


# Starting


def _configuration(folder: Path, url: str) -> Configuration:
    return Configuration(state_dir=folder, database=DatabaseSettings(url=url))


async def _refusal(configuration: Configuration) -> StateError:
    with pytest.raises(StateError) as caught:
        async with open_control(configuration):
            raise AssertionError("it started")
    line = caught.value.one_line()
    assert PASSWORD not in line
    assert ESCAPED not in line
    assert "secret-word" not in line
    return caught.value


async def test_a_password_full_of_what_urls_escape_is_understood(
    tmp_path: Path, postgresql: Database, postgres: PostgresServer
) -> None:
    postgresql.url(tmp_path)
    url = postgres.url(postgresql.name(tmp_path))
    async with open_control(_configuration(tmp_path, url)) as context, context.store.read() as session:
        assert await read_revision(session) == 1


async def test_a_wrong_password_is_a_clear_error(tmp_path: Path, postgres: PostgresServer) -> None:
    error = await _refusal(_configuration(tmp_path, postgres.url("postgres", password="secret-word")))
    assert error.code == "DATABASE_UNUSABLE"
    assert f"postgresql://owner@127.0.0.1:{postgres.port}/postgres" in error.sentence
    assert "password authentication failed" in error.cause


async def test_a_missing_database_is_a_clear_error(tmp_path: Path, postgres: PostgresServer) -> None:
    error = await _refusal(_configuration(tmp_path, postgres.url("missing")))
    assert error.code == "DATABASE_UNUSABLE"
    assert 'database "missing" does not exist' in error.cause


async def test_a_server_that_does_not_answer_is_a_clear_error(tmp_path: Path) -> None:
    error = await _refusal(_configuration(tmp_path, "postgresql+psycopg://owner:secret-word@127.0.0.1:1/arcgate"))
    assert error.code == "DATABASE_UNUSABLE"
    assert "127.0.0.1" in error.cause


async def test_a_database_of_another_encoding_is_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    statement = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
    postgres.run(sql.SQL("{}").format(sql.SQL(statement)))
    try:
        error = await _refusal(_configuration(tmp_path, postgres.url("latin")))
    finally:
        postgres.drop_database("latin")
    assert error.code == "DATABASE_ENCODING"


async def test_a_role_that_may_not_make_tables_is_told_so(
    tmp_path: Path, postgresql: Database, postgres: PostgresServer
) -> None:
    postgresql.url(tmp_path / "state")
    url = postgres.url(postgresql.name(tmp_path / "state"))
    for statement in ("CREATE ROLE guest LOGIN PASSWORD 'secret-word'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        postgres.run(sql.SQL(statement), postgresql.name(tmp_path / "state"))
    try:
        error = await _refusal(_configuration(tmp_path, url.replace(f"owner:{ESCAPED}", "guest:secret-word")))
    finally:
        postgres.run(sql.SQL("DROP ROLE guest"))
    assert error.code == "DATABASE_UNUSABLE"
    assert "permission denied" in error.cause


async def test_a_second_node_needs_the_same_master_key(plane: ControlPlane, tmp_path: Path) -> None:
    url = plane.context.store.engine.url.render_as_string(hide_password=False)
    before = await _newest(plane)
    error = await _refusal(_configuration(tmp_path / "stranger", url))
    assert error.code == "MASTER_KEY_DIFFERS"
    assert "secrets/node.secret" in error.remedy
    assert await _newest(plane) == before


async def test_of_two_first_nodes_with_keys_of_their_own_one_starts(tmp_path: Path, postgresql: Database) -> None:
    url = postgresql.url(tmp_path)

    async def start(number: int) -> str:
        try:
            async with open_control(_configuration(tmp_path / str(number), url)):
                return "started"
        except StateError as error:
            return error.code

    assert sorted(await asyncio.gather(start(1), start(2))) == ["MASTER_KEY_DIFFERS", "started"]


async def test_two_nodes_may_make_the_database_at_the_same_time(tmp_path: Path, postgresql: Database) -> None:
    configuration = _configuration(tmp_path, postgresql.url(tmp_path))
    stores = [open_store(configuration, Changes()) for _ in range(3)]
    try:
        await asyncio.gather(*(upgrade(store) for store in stores))
        await asyncio.gather(*(bootstrap(configuration, store, utc_now()) for store in stores))
        async with stores[0].read() as session:
            assert await read_revision(session) == 1
    finally:
        for store in stores:
            await store.close()


async def test_the_server_runs_as_nobody_important(postgres: PostgresServer) -> None:
    assert (postgres.folder / "data").stat().st_uid == (os.geteuid() or postgres.folder.stat().st_uid)
    assert (postgres.folder / "data").stat().st_uid != 0
