"""What is answered when the database fails a request: it is full, busy, or away for a moment."""

import structlog
from sqlalchemy.exc import DataError, DBAPIError, InternalError, OperationalError, SQLAlchemyError, TimeoutError
from starlette.requests import Request
from starlette.responses import Response

from arcgate.control.failures import ApiError

RETRY_AFTER = 5
"""Seconds until a client's next try."""

_FULL = frozenset({"53100", "58030"})
"""PostgreSQL's codes (SQLSTATE) for a disk that is full or fails."""
_FULL_WORDS = ("full", "readonly", "I/O")
"""... and what SQLite says then."""

_log = structlog.get_logger("arcgate.control")


async def answer_database(_request: Request, error: Exception) -> Response:
    """Return the answer to an error of the database; raises it again when the fault is ours."""
    assert isinstance(error, SQLAlchemyError)
    original = getattr(error, "orig", None)
    cause = str(original or error)
    if isinstance(error, DataError):
        _log.error("database refused a value", cause=cause)
        text = "A value of the request is too long, or holds a character that can't be kept."
        return ApiError(400, "InvalidRequestContent", text).to_response()
    if not _is_passing(error):
        raise error
    _log.error("database failed", cause=cause)
    if _is_full(getattr(original, "sqlstate", None), cause):
        return ApiError(507, "InsufficientStorage", "The control plane can't write to its database.").to_response()
    text = "The control plane's database is busy."
    headers = {"Retry-After": str(RETRY_AFTER)}
    return ApiError(503, "ServerBusy", text, remedy="Retry later.", headers=headers).to_response()


def _is_passing(error: SQLAlchemyError) -> bool:
    """Say whether the error is of the database's state, and not of our statement."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # InternalError: the server ended a silent transaction, or it takes no writes any more.
    return isinstance(error, OperationalError | InternalError | TimeoutError)


def _is_full(code: str | None, cause: str) -> bool:
    return code in _FULL if code is not None else any(word in cause for word in _FULL_WORDS)
