"""Steps from one form of the database to the next; `upgrade` takes them at start-up."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from arcgate.control.store.address import unusable
from arcgate.control.store.database import Store
from arcgate.core.errors import StateError


async def upgrade(store: Store) -> None:
    """Bring the database to this version's form; raises StateError when it is newer than we know or unusable."""
    try:
        async with store.writing_connection() as connection:
            await _upgrade_within(connection)
    except SQLAlchemyError as error:
        raise unusable(store.engine.url, error) from None


async def _upgrade_within(connection: AsyncConnection) -> None:
    await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.attributes["connection"] = connection
    _refuse_newer(connection, ScriptDirectory.from_config(settings))
    command.upgrade(settings, "head")


def _refuse_newer(connection: Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    for found in MigrationContext.configure(connection).get_current_heads():
        if found not in known:
            raise StateError(
                "DATABASE_NEWER",
                f"The database has the form {found!r}, which this version does not know.",
                remedy="Start the version of Arcgate that last used the database, or a newer one.",
            )
