"""Forgets audit records when their time is over, in batches so small that nobody waits for them."""

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.exc import SQLAlchemyError

from arcgate.control.context import ControlContext
from arcgate.control.store import Store
from arcgate.control.store.models import AuditRow, Node, PolicyRevisionRow

INTERVAL = 3600.0
"""Seconds between two sweeps."""
BATCH = 500
"""Records that one transaction deletes."""

_log = structlog.get_logger(__name__)


async def keep_swept(context: ControlContext, interval: float = INTERVAL) -> None:
    """Sweep now and at each interval, for ever; a failure is logged and tried again later."""
    while True:
        before = context.clock() - timedelta(days=context.configuration.control.audit_days)
        try:
            if deleted := await sweep(context.store, before):
                _log.info("audit records deleted", records=deleted, before=before.isoformat())
            days = context.configuration.control.policy_history_days
            await forget_revisions(context.store, context.clock() - timedelta(days=days))
        except SQLAlchemyError as error:
            _log.error("audit records not deleted", cause=str(error))
        await asyncio.sleep(interval)


async def sweep(store: Store, before: datetime, batch: int = BATCH) -> int:
    """Delete the records older than `before` and return their number; starts of living tunnels stay."""
    total = 0
    while deleted := await _delete_batch(store, before, batch):
        total += deleted
        await asyncio.sleep(0)  # others' writes come in between
    return total


async def forget_revisions(store: Store, before: datetime) -> None:
    """Delete the policy's history older than `before`; no rollback leads there any more."""
    async with store.write() as transaction:
        old = delete(PolicyRevisionRow).where(PolicyRevisionRow.time < before)
        await transaction.session.execute(old.execution_options(synchronize_session=False))


async def _delete_batch(store: Store, before: datetime, batch: int) -> int:
    oldest = select(AuditRow.id).where(AuditRow.time < before, _is_over(before)).order_by(AuditRow.time).limit(batch)
    async with store.write() as transaction:
        result = await transaction.session.execute(
            delete(AuditRow).where(AuditRow.id.in_(oldest)).execution_options(synchronize_session=False)
        )
        return int(getattr(result, "rowcount", 0))


def _is_over(before: datetime) -> ColumnElement[bool]:
    """Not open, or of a node that has been silent for as long: it will not tell the end any more."""
    living = select(Node.name).where(Node.time >= before)
    return or_(AuditRow.is_open.is_(False), and_(AuditRow.is_open.is_(True), AuditRow.node.not_in(living)))
