"""The history of the policy: what each change made of a gateway, endpoint set or machine group.

Written in the change's own transaction, from the published entries, so that history and snapshot can't differ.
"""

from collections.abc import Mapping
from typing import Any

from arcgate.control.store import Transaction
from arcgate.control.store.models import EndpointSetRow, EntryRow, GatewayRow, MachineGroupRow, PolicyRevisionRow
from arcgate.core.snapshot import Kind

PolicyRow = GatewayRow | EndpointSetRow | MachineGroupRow


async def publish_policy(
    transaction: Transaction, kind: Kind, key: str, row: PolicyRow, body: Mapping[str, Any] | None
) -> int:
    """Publish a part of the policy (None: it is gone) and note what it was before; return the revision."""
    known = await transaction.session.get(EntryRow, (kind.value, key))
    before = known.body if known is not None else None
    after = None if body is None else dict(body)
    revision = await transaction.publish(kind, key, after)
    if before != after:
        await _note(transaction, kind, key, row, before, after, revision)
    return revision


async def _note(
    transaction: Transaction,
    kind: Kind,
    key: str,
    row: PolicyRow,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    revision: int,
) -> None:
    who, when = transaction.actor or (row.modified_by, row.modified_at)
    session = transaction.session
    session.add(
        PolicyRevisionRow(
            revision=revision,
            subscription_id=row.subscription_id,
            kind=kind.value,
            entry_key=key,
            resource_id=row.resource_id,
            before=before,
            after=after,
            changed_by=who,
            time=when,
        )
    )
