"""The databases that the control plane's tests run on, each fresh for a test and gone after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worlds.postgresql import PostgresServer

KINDS = ("sqlite", "postgresql")


class Database:
    """Gives a control plane its database.url: SQLite below its state folder, or a new database of the server."""

    def __init__(self, server: PostgresServer | None = None) -> None:
        self.server = server
        self._names: dict[Path, str] = {}

    @property
    def kind(self) -> str:
        """Return sqlite or postgresql."""
        return "sqlite" if self.server is None else "postgresql"

    def url(self, state_dir: Path, template: str = "template0") -> str:
        """Return the URL of the state folder's database, made from the template when it is asked for first."""
        if self.server is None:
            return ""
        if state_dir not in self._names:
            self._names[state_dir] = self.server.create_database(template)
        return self.server.local_url(self._names[state_dir])

    def name(self, state_dir: Path) -> str:
        """Return the name of the state folder's database on the server."""
        return self._names[state_dir]

    def drop(self) -> None:
        """Remove everything that was made."""
        for name in self._names.values():
            assert self.server is not None
            self.server.drop_database(name)
        self._names.clear()


@contextmanager
def fresh_database(server: PostgresServer | None = None) -> Iterator[Database]:
    """Yield a maker of databases that live as long as the block."""
    made = Database(server)
    try:
        yield made
    finally:
        made.drop()
