"""Where the database is: its URL, how it is shown without secrets, and what is said when it can't be used."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
"""The drivers that we speak through; a URL may leave them out."""

_SECRET_OPTIONS = ("password", "sslpassword")


def database_url(configuration: Configuration) -> URL:
    """Return the URL of the configured database, with its driver; raises StateError (DATABASE_URL_INVALID).

    Without one it is SQLite below the state folder.
    """
    text = configuration.database.url
    if not text:
        return URL.create(DRIVERS["sqlite"], database=str(default_file(configuration.state_dir)))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # their words may hold a piece of the password
        raise _invalid("it is not of the form postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE") from None
    driver = DRIVERS.get(url.get_backend_name())
    if driver is None or url.drivername not in (driver, url.get_backend_name()):
        raise _invalid(f"Arcgate does not speak {url.drivername[:40]!a}")
    return url.set(drivername=driver)


def default_file(state_dir: Path) -> Path:
    """Return the file of the database that nobody configured."""
    return state_dir / "control" / "control.sqlite"


def shown(url: URL) -> str:
    """Return the URL without password and options."""
    bare = URL.create(url.get_backend_name(), url.username, None, url.host, url.port, url.database)
    return bare.render_as_string()


def unusable(url: URL, error: SQLAlchemyError) -> StateError:
    """Return what to say when the database refuses us at the start; never tells the password."""
    cause = without_secrets(url, str(getattr(error, "orig", None) or error))
    return StateError(
        "DATABASE_UNUSABLE",
        f"The database {shown(url)} can't be used.",
        cause=cause,
        remedy="Correct database.url, or start and repair the database (see docs/howto/postgresql.md).",
    )


def without_secrets(url: URL, text: str) -> str:
    """Return a driver's words without the URL's passwords."""
    for secret in (url.password, *(url.query.get(name) for name in _SECRET_OPTIONS)):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "***")
    return text


def _invalid(cause: str) -> StateError:
    return StateError(
        "DATABASE_URL_INVALID",
        "The setting database.url can't be used.",
        cause=cause,
        remedy="Write characters such as @, / and : in the password as %40, %2F and %3A; leave it empty for SQLite.",
    )
