"""PostgreSQL: its connections, one writer at a time across all nodes, and what a lost node may hold up.

The advisory lock makes writing transactions as serial as SQLite's: whatever one reads before it writes
(a quota, a version, an unused code) is still so when it commits, on whichever node the others run.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from arcgate.core.errors import StateError

LOCK_TIMEOUT = 10
"""Seconds that a writer waits for another node's write, and a request for a free connection."""
STALLED_TIMEOUT = 15
"""Seconds that a transaction may be silent before the server ends it: a stopped node must not stop the others."""
WRITERS_LOCK = 0x6172636761746501
"""Key of the advisory lock that a writing transaction holds."""

_DEFAULTS = {
    "application_name": "arcgate",
    "client_encoding": "UTF8",
    "connect_timeout": "5",
    # A server that vanished without a word is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
_SETTINGS = (
    "SET timezone TO 'UTC'; "
    f"SET lock_timeout TO '{LOCK_TIMEOUT}s'; "
    f"SET idle_in_transaction_session_timeout TO '{STALLED_TIMEOUT}s'"
)


def connection_options(url: URL) -> dict[str, str]:
    """Return libpq's options for connections; what stands in the URL counts more."""
    return {name: value for name, value in _DEFAULTS.items() if name not in url.query}


def make_engine(url: URL, writes: str, connections: int) -> AsyncEngine:
    """Return the engine of so many connections; transactions with the execution option `writes` wait for their turn.

    Raises StateError (DRIVER_MISSING) when the driver is not installed.
    """
    try:
        engine = create_async_engine(
            url,
            pool_pre_ping=True,  # after a restart of the server, the first look finds the dead connections
            pool_size=connections,
            max_overflow=0,
            pool_timeout=LOCK_TIMEOUT,
            connect_args=connection_options(url),
        )
    except ModuleNotFoundError:
        raise StateError(
            "DRIVER_MISSING",
            "The driver for PostgreSQL is not installed.",
            remedy="Install Arcgate with its extra 'postgres', or psycopg[binary] beside it.",
        ) from None
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", lambda connection: _take_turn(connection, writes))
    return engine


def for_reading(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine whose transactions see one state of the database from their first to their last statement."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
    encoding = connection.driver_connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StateError(
            "DATABASE_ENCODING",
            f"The database's encoding is {encoding}, and not UTF8.",
            remedy="Make a database with ENCODING 'UTF8' TEMPLATE template0.",
        )
    cursor = connection.cursor()
    cursor.execute(_SETTINGS)
    cursor.close()
    connection.commit()


def _take_turn(connection: Connection, writes: str) -> None:
    if connection.get_execution_options().get(writes, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
