"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, run by an unprivileged user."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

OWNER = "owner"
PASSWORD = "pass@word/:1%"
"""Of the role `OWNER`, which must give it on the loopback address; full of what URLs need to escape."""
ESCAPED = "pass%40word%2F%3A1%25"
_UNPRIVILEGED = "nobody"
_SETTINGS = {
    "fsync": "off",  # a killed server loses nothing by that; only a killed machine would
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "100",
    "autovacuum": "off",
}


class PostgresServer:
    """One running server; databases are made and dropped at will."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, password: str = ESCAPED) -> str:
        """Return the URL of a database for the control plane, by the loopback address."""
        return f"postgresql+psycopg://{OWNER}:{password}@127.0.0.1:{self.port}/{database}"

    def local_url(self, database: str) -> str:
        """Return the URL by the socket, which asks for no password and so costs no time."""
        return f"postgresql+psycopg://{OWNER}@/{database}?host={self.folder}&port={self.port}"

    def initialize(self) -> None:
        """Make the cluster."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="ascii")
        _give_away(secret)
        command = [_program("initdb"), "-D", str(self.folder / "data"), "-U", OWNER, "--pwfile", str(secret)]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_whom())

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command = [_program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)]
        for name, value in {**_SETTINGS, "listen_addresses": "127.0.0.1"}.items():
            command += ["-c", f"{name}={value}"]
        # Whatever becomes of the thread that starts it (so it should be the main one), the server goes with it.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", "--", *command], stderr=log, **self._as_whom()
            )
        latest = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > latest:
                raise AssertionError((self.folder / "log").read_text(encoding="utf-8"))
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends its sessions, SIGQUIT ends it like a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def create_database(self, template: str = "template0") -> str:
        """Make a database, a copy of the template, and return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        statement = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"
        self.run(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, in use or not."""
        self.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def run(self, statement: sql.Composed | sql.SQL, database: str = "postgres") -> list[Any]:
        """Run one statement as the owner and return its rows."""
        with psycopg.connect(**self._admin(), dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def fresh_database(self, template: str = "template0") -> Iterator[str]:
        """Yield the name of a database that lives as long as the block."""
        name = self.create_database(template)
        try:
            yield name
        finally:
            self.drop_database(name)

    def _answers(self) -> bool:
        try:
            psycopg.connect(**self._admin(), dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _admin(self) -> dict[str, Any]:
        return {"host": str(self.folder), "port": self.port, "user": OWNER}

    def _as_whom(self) -> dict[str, Any]:
        as_root = {"user": _UNPRIVILEGED, "group": _gid(), "extra_groups": []} if os.geteuid() == 0 else {}
        return {"cwd": self.folder, **as_root}


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Yield a running server; its folder lies where an unprivileged user may come."""
    folder = Path(tempfile.mkdtemp(prefix="arcgate-postgresql-"))
    server = PostgresServer(folder)
    try:
        _give_away(folder)
        server.initialize()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, _UNPRIVILEGED, _gid())


def _gid() -> int:
    import pwd

    return pwd.getpwnam(_UNPRIVILEGED).pw_gid


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name))
    for candidate in [folder / name for folder in reversed(folders)]:
        if candidate.exists():
            return str(candidate)
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: install PostgreSQL's server (scripts/install-test-packages)"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
