"""Puts a gateway, endpoint set or machine group back to what it was, as one more change."""

from collections.abc import Mapping

from sqlalchemy import select

from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.endpoint_sets import ENDPOINT_SETS
from arcgate.control.arm.machine_groups import MACHINE_GROUPS
from arcgate.control.arm.policy_resources import PolicyResource, Row
from arcgate.control.arm.publication import publish_gateway
from arcgate.control.arm.stamps import stamp_change
from arcgate.control.store import Transaction
from arcgate.control.store.models import GatewayRow, PolicyRevisionRow, ResourceGroup
from arcgate.core.snapshot import Kind

_SET_COLUMNS = {"endpoints": "endpoints", "allow_private": "allowPrivate"}
_GROUP_COLUMNS = {
    "match_tags": "tags",
    "allowed_features": "allowedFeatures",
    "mode": "mode",
    "audited_features": "auditedFeatures",
    "limits": "limits",
}
"""What a published entry calls the columns."""


async def restore(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    """Undo a change; False where that can't be: gateways are neither made nor deleted here."""
    match Kind(change.kind):
        case Kind.GATEWAY:
            return await _restore_gateway(transaction, call, change)
        case Kind.ENDPOINT_SET:
            return await _restore(transaction, call, change, ENDPOINT_SETS, _SET_COLUMNS)
        case Kind.MACHINE_GROUP:
            return await _restore(transaction, call, change, MACHINE_GROUPS, _GROUP_COLUMNS)
        case _:
            return False


async def _restore_gateway(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    statement = select(GatewayRow).where(GatewayRow.prefix == change.entry_key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    before = change.before
    if row is None or before is None:
        return False
    row.allowed_features = list(before["allowedFeatures"])
    row.policy = before.get("policy")
    row.bypass = list(before.get("bypass", []))
    row.hand_over = before.get("handOver", "")
    row.signed_channels = bool(before.get("signedChannels"))
    stamp_change(row, call)
    await publish_gateway(transaction, row)
    return True


async def _restore(
    transaction: Transaction,
    call: Call,
    change: PolicyRevisionRow,
    resource: PolicyResource[Row],
    columns: Mapping[str, str],
) -> bool:
    statement = select(resource.model).where(resource.model.key == change.entry_key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    before = change.before
    if before is None:
        if row is not None:
            await resource.remove(transaction, row)
        return True
    known = {column: before[name] for column, name in columns.items()}
    if row is not None:
        await resource.change(transaction, call, row, known)
        return True
    group = await transaction.session.get(ResourceGroup, change.entry_key.partition("/providers/")[0])
    if group is None:
        return False
    again = {**known, "description": "", "tags": {}}
    await resource.create(transaction, call, group, before["name"], group.location, again)
    return True
