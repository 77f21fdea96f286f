"""The database: opening it, reading from it and writing to it in transactions that also publish.

Writing transactions are serial (SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock), so the order of
revisions is the order of commits, no reader can see revision 7 before revision 6, and what a writer has read
still holds when it commits. Reading transactions see one state of the database.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, select, update
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import TimeoutError as DatabaseTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from arcgate.control.changes import ENTRIES, Changes
from arcgate.control.store.address import database_url, default_file
from arcgate.control.store.models import EntryRow, Revision
from arcgate.control.store.postgresql import for_reading, make_engine
from arcgate.core.configuration import Configuration
from arcgate.core.snapshot import Entry, Kind

if TYPE_CHECKING:
    from arcgate.control.store.notices import Notices

BUSY_TIMEOUT = 10
"""Seconds that a writer waits for another process's write."""

LONGEST_TRANSACTION = 60
"""Seconds from the wish to begin until the end; a database that does not answer must not hold a request for ever."""

_WRITES = "arcgate_writes"


class Transaction:
    """One write: its session, the revision that it makes and the topics to wake when it is committed."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.topics: set[str] = set()
        self.actor: tuple[str, datetime] | None = None
        """Who writes, and when, for the history of the policy; None: what the rows' stamps say."""
        self._revision: int | None = None

    async def revision(self) -> int:
        """Return the revision of this transaction, the next one of the counter."""
        if self._revision is None:
            statement = update(Revision).where(Revision.id == 1).values(value=Revision.value + 1)
            self._revision = (await self.session.execute(statement.returning(Revision.value))).scalar_one()
        return self._revision

    async def publish(self, kind: Kind, key: str, body: Mapping[str, Any] | None) -> int:
        """Write a snapshot entry (None: the key is gone) under this transaction's revision, and return that."""
        revision = await self.revision()
        content = None if body is None else dict(body)
        await self.session.merge(EntryRow(kind=kind.value, key=key, revision=revision, body=content))
        self.announce(ENTRIES)
        return revision

    def announce(self, *topics: str) -> None:
        """Wake waiters for the topics once this transaction is committed."""
        self.topics.update(topics)


class Store:
    """Sessions of one database."""

    def __init__(self, engine: AsyncEngine, changes: Changes) -> None:
        self.engine = engine
        self.changes = changes
        self._reading_engine = for_reading(engine) if engine.dialect.name == "postgresql" else engine
        self._notices = _open_notices(engine, changes)
        self._writing_engine = engine.execution_options(**{_WRITES: True})
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Yield a session that sees one state of the database; nothing that is done in it is kept."""
        async with (
            _bounded(),
            AsyncSession(self._reading_engine, expire_on_commit=False, autoflush=False) as session,
        ):
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Yield a transaction; it is committed, and then announced, unless the block raises."""
        async with _bounded(), self._turn, AsyncSession(self._writing_engine, expire_on_commit=False) as session:
            transaction = Transaction(session)
            async with session.begin():
                yield transaction
                if self._notices is not None:
                    await self._notices.tell(session, transaction.topics)
        self.changes.notify(transaction.topics)

    @asynccontextmanager
    async def writing_connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a bare connection inside a writing transaction, for migrations."""
        async with self._turn, self._writing_engine.begin() as connection:
            yield connection

    async def keep_listening(self) -> None:
        """Wake our waiters for what other nodes change; returns at once where nobody else tells of changes."""
        if self._notices is not None:
            await self._notices.keep_listening()

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LONGEST_TRANSACTION) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DatabaseTimeoutError("the database did not answer in time") from None


async def read_revision(session: AsyncSession) -> int:
    """Return the newest revision."""
    return (await session.execute(select(Revision.value).where(Revision.id == 1))).scalar_one()


async def read_entries(session: AsyncSession, after: int) -> tuple[int, list[Entry]]:
    """Return the newest revision and the entries above `after`, oldest first.

    `after=0` leaves out keys that are gone: a node without any state has nothing to remove.
    """
    # The revision first: what is committed between the two statements belongs to the next answer.
    revision = await read_revision(session)
    statement = select(EntryRow).where(EntryRow.revision > after, EntryRow.revision <= revision)
    rows = (await session.execute(statement.order_by(EntryRow.revision, EntryRow.kind, EntryRow.key))).scalars()
    entries = [Entry(Kind(row.kind), row.key, row.revision, row.body) for row in rows if after or row.body is not None]
    return revision, entries


def open_store(configuration: Configuration, changes: Changes) -> Store:
    """Return the store that the configuration names; the file of our own SQLite database is made when missing.

    Raises StateError when we don't understand the URL or its driver is missing.
    """
    url = database_url(configuration)
    if url.get_backend_name() == "postgresql":
        return Store(make_engine(url, _WRITES, configuration.database.connections), changes)
    if not configuration.database.url:
        path = default_file(configuration.state_dir)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
    return Store(_sqlite_engine(url), changes)


def _open_notices(engine: AsyncEngine, changes: Changes) -> "Notices | None":
    if engine.dialect.name != "postgresql":
        return None
    # The driver comes with an extra that SQLite does without.
    from arcgate.control.store.notices import Notices

    return Notices(engine, changes)


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes late and is always deferred; ours comes when SQLAlchemy begins.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
