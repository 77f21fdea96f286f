import json
import sqlite3
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc
from starlette.requests import Request

from arcgate.control.database_failures import answer_database

pytestmark = pytest.mark.anyio

REQUEST = Request({"type": "http"})


def wrapped(kind: type[exc.DBAPIError], original: BaseException, *, lost: bool = False) -> exc.DBAPIError:
    return kind("SELECT 1", {}, original, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (wrapped(exc.OperationalError, sqlite3.OperationalError("database is locked")), 503, "ServerBusy"),
        (
            wrapped(exc.OperationalError, sqlite3.OperationalError("database or disk is full")),
            507,
            "InsufficientStorage",
        ),
        (wrapped(exc.OperationalError, sqlite3.OperationalError("disk I/O error")), 507, "InsufficientStorage"),
        (wrapped(exc.OperationalError, errors.DiskFull("could not extend file")), 507, "InsufficientStorage"),
        (wrapped(exc.OperationalError, errors.LockNotAvailable("lock timeout")), 503, "ServerBusy"),
        (wrapped(exc.OperationalError, errors.AdminShutdown("full stop")), 503, "ServerBusy"),
        (wrapped(exc.OperationalError, psycopg.OperationalError("connection refused")), 503, "ServerBusy"),
        (wrapped(exc.InternalError, errors.IdleInTransactionSessionTimeout("idle")), 503, "ServerBusy"),
        (wrapped(exc.InternalError, errors.ReadOnlySqlTransaction("standby")), 503, "ServerBusy"),
        (wrapped(exc.InterfaceError, psycopg.InterfaceError("closed"), lost=True), 503, "ServerBusy"),
        (exc.TimeoutError("QueuePool limit"), 503, "ServerBusy"),
        (wrapped(exc.DataError, errors.StringDataRightTruncation("too long")), 400, "InvalidRequestContent"),
    ],
)
async def test_a_passing_fault_has_its_answer(error: exc.SQLAlchemyError, status: int, code: str) -> None:
    answer = await answer_database(REQUEST, error)
    document: Any = json.loads(bytes(answer.body))
    assert (answer.status_code, document["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    "error",
    [
        wrapped(exc.IntegrityError, errors.UniqueViolation("twice")),
        wrapped(exc.ProgrammingError, errors.UndefinedTable("no table")),
        exc.InvalidRequestError("wrong use"),
    ],
)
async def test_a_fault_of_ours_is_not_covered_up(error: exc.SQLAlchemyError) -> None:
    with pytest.raises(type(error)):
        await answer_database(REQUEST, error)
