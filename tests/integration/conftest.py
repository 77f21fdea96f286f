"""The databases that integration tests may ask for; PostgreSQL's server is started by the first that does."""

from collections.abc import Iterator

import pytest

from worlds.databases import KINDS, Database, fresh_database
from worlds.postgresql import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    with fresh_database(server) as made:
        yield made


@pytest.fixture
def postgresql(postgres: PostgresServer) -> Iterator[Database]:
    """PostgreSQL alone, for what SQLite does not have."""
    with fresh_database(postgres) as made:
        yield made
