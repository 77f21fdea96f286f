from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from arcgate.control.store.address import database_url, shown, unusable
from arcgate.core.configuration import Configuration, DatabaseSettings
from arcgate.core.errors import StateError


def configured(url: str) -> Configuration:
    return Configuration(state_dir=Path("/state"), database=DatabaseSettings(url=url))


def test_without_a_url_it_is_a_file_below_the_state_folder() -> None:
    assert str(database_url(configured(""))) == "sqlite+aiosqlite:////state/control/control.sqlite"


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
        ("sqlite:////x.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////x.db", "sqlite+aiosqlite"),
    ],
)
def test_a_url_gets_our_driver(given: str, driver: str) -> None:
    assert database_url(configured(given)).drivername == driver


@pytest.mark.parametrize(
    "given",
    [
        "postgresql+asyncpg://u:secret-word@h/d",
        "postgresql+psycopg2://u:secret-word@h/d",
        "mysql://u:secret-word@h/d",
        "postgresql+psycopg://h:secret-word/d",
        "postgresql+psycopg://u:p@h:secret-word/d",
        "secret-word",
        "://secret-word",
    ],
)
def test_other_urls_are_refused_without_telling_what_is_in_them(given: str) -> None:
    with pytest.raises(StateError) as caught:
        database_url(configured(given))
    assert caught.value.code == "DATABASE_URL_INVALID"
    assert "secret-word" not in caught.value.one_line()


def test_a_url_is_shown_without_password_and_options() -> None:
    url = make_url("postgresql+psycopg://u:secret@h:5433/d?password=secret&sslmode=require")
    assert shown(url) == "postgresql://u@h:5433/d"


def test_the_drivers_words_lose_every_password() -> None:
    url = make_url("postgresql+psycopg://u:first%40word@h/d?password=second&sslpassword=third")
    error = OperationalError("", {}, Exception("no first@word, second, third for u at h"))
    refusal = unusable(url, error)
    assert refusal.cause == "no ***, ***, *** for u at h"
    assert refusal.sentence == "The database postgresql://u@h/d can't be used."
