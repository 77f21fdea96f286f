"""Puts a gateway, endpoint set or machine group back to what it was, as one more change."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from arcgate.control.arm import endpoint_sets, machine_groups
from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.publication import publish_endpoint_set, publish_gateway, publish_machine_group
from arcgate.control.arm.stamps import stamp_change, stamp_new
from arcgate.control.store import Transaction
from arcgate.control.store.models import (
    EndpointSetRow,
    GatewayRow,
    MachineGroupRow,
    PolicyRevisionRow,
    ResourceGroup,
)
from arcgate.core.snapshot import Kind


async def restore(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    """Undo a change; False where that can't be: gateways are neither made nor deleted here."""
    match Kind(change.kind):
        case Kind.GATEWAY:
            return await _restore_gateway(transaction, call, change)
        case Kind.ENDPOINT_SET:
            return await _restore_set(transaction, call, change)
        case Kind.MACHINE_GROUP:
            return await _restore_group(transaction, call, change)
        case _:
            return False


async def _restore_gateway(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    statement = select(GatewayRow).where(GatewayRow.prefix == change.entry_key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    if row is None or change.before is None:
        return False
    row.allowed_features = list(change.before["allowedFeatures"])
    row.policy = change.before.get("policy")
    row.bypass = list(change.before.get("bypass", []))
    stamp_change(row, call)
    await publish_gateway(transaction, row)
    return True


async def _restore_set(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    statement = select(EndpointSetRow).where(EndpointSetRow.key == change.entry_key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    if change.before is None:
        if row is not None:
            await endpoint_sets.remove(transaction, row)
        return True
    if row is None:
        facts = await _facts(transaction, call, change, change.before)
        if facts is None:
            return False
        row = EndpointSetRow(**facts, description="")
        stamp_new(row, call)
        transaction.session.add(row)
    else:
        stamp_change(row, call)
    row.endpoints, row.allow_private = list(change.before["endpoints"]), bool(change.before["allowPrivate"])
    await publish_endpoint_set(transaction, row)
    return True


async def _restore_group(transaction: Transaction, call: Call, change: PolicyRevisionRow) -> bool:
    statement = select(MachineGroupRow).where(MachineGroupRow.key == change.entry_key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    before = change.before
    if before is None:
        if row is not None:
            await machine_groups.remove(transaction, row)
        return True
    if row is None:
        facts = await _facts(transaction, call, change, before)
        if facts is None:
            return False
        row = MachineGroupRow(**facts, description="")
        stamp_new(row, call)
        transaction.session.add(row)
    else:
        stamp_change(row, call)
    row.match_tags, row.allowed_features = before["tags"], before["allowedFeatures"]
    row.mode, row.audited_features, row.limits = before["mode"], before["auditedFeatures"], before["limits"]
    await publish_machine_group(transaction, row)
    return True


async def _facts(
    transaction: Transaction, call: Call, change: PolicyRevisionRow, before: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the columns of a resource that is made again; None when its resource group is gone."""
    group = await transaction.session.get(ResourceGroup, change.entry_key.partition("/providers/")[0])
    if group is None:
        return None
    return {
        "id": str(uuid.uuid4()),
        "key": change.entry_key,
        "group_key": group.key,
        "subscription_id": change.subscription_id,
        "tenant_id": call.caller.tenant_id,
        "resource_id": change.resource_id,
        "name": before["name"],
        "location": group.location,
        "tags": {},
    }
