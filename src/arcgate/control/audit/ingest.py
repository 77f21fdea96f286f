"""Keeps batches of audit records: each record once, and a batch whole or not at all.

A record that can't be read is logged and named in the answer; refusing its batch would hold back all that
the node has to tell from then on.
"""

import json
from typing import Any

import structlog
from sqlalchemy import Insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.audit.records import read_record
from arcgate.control.failures import ApiError
from arcgate.control.store import Store
from arcgate.control.store.models import AuditRow
from arcgate.core.audit import Event, printable

MOST_RECORDS = 10_000
"""Records in one batch."""
PIECE = 500
"""Tunnels in one statement; databases bound the parameters of one."""

_log = structlog.get_logger(__name__)


async def keep_records(store: Store, documents: Any) -> dict[str, Any]:
    """Keep the records and return how many were accepted, and which were not; raises ApiError 400."""
    if not isinstance(documents, list) or len(documents) > MOST_RECORDS:
        raise ApiError(
            400, "InvalidRequestContent", f"'records' must be a list of at most {MOST_RECORDS}.", target="records"
        )
    rows, rejected = _read_all(documents)
    if rows:
        async with store.write() as transaction:
            await _insert(transaction.session, rows)
            await _close_ended(transaction.session, sorted({row["tunnel_id"] for row in rows}))
    return {"accepted": len(rows), **({"rejected": rejected} if rejected else {})}


def _read_all(documents: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for index, document in enumerate(documents):
        try:
            rows.append(read_record(document))
        except ValueError as error:
            rejected.append({"index": index, "message": printable(str(error))})
            _log.error("audit record not readable", cause=str(error), record=printable(json.dumps(document), 2000))
    return rows, rejected


async def _insert(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    await session.execute(_insert_or_leave(session.get_bind().dialect.name), rows)


def _insert_or_leave(dialect: str) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert(AuditRow).on_conflict_do_nothing()
    return postgresql.insert(AuditRow).on_conflict_do_nothing()


async def _close_ended(session: AsyncSession, tunnels: list[str]) -> None:
    """Mark starts whose end has come; in which order and batch the two came doesn't matter."""
    for start in range(0, len(tunnels), PIECE):
        piece = tunnels[start : start + PIECE]
        ended = select(AuditRow.tunnel_id).where(AuditRow.event == Event.END.value, AuditRow.tunnel_id.in_(piece))
        statement = update(AuditRow).where(AuditRow.event == Event.START.value, AuditRow.tunnel_id.in_(ended))
        await session.execute(statement.values(is_open=False).execution_options(synchronize_session=False))
