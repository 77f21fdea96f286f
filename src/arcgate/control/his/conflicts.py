"""Two machines under one identity: what the audit, the machine's resource and both machines are told of it."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.audit.records import columns
from arcgate.control.store.models import AuditRow, MachineRow
from arcgate.core.audit import AuditRecord, Event
from arcgate.core.instances import Instances, describe_conflict

REASON = "machine_cloned"


def conflict_document(instances: Instances) -> dict[str, Any] | None:
    """Return what heartbeats' answers and resources say of the conflict, None when there is none."""
    if instances.conflict_since is None:
        return None
    seen = [one.to_json() for one in instances.seen]
    return {"since": instances.conflict_since.isoformat(), "instances": seen}


async def record_conflict(session: AsyncSession, machine_id: str, instances: Instances, now: datetime) -> None:
    """Add the audit record of a conflict's beginning."""
    machine = await session.get(MachineRow, machine_id)
    if machine is None:
        return
    record = AuditRecord(
        event=Event.CONFLICT,
        tunnel_id=f"{machine.id}/{instances.conflict_since or now:%Y%m%dT%H%M%S%f}",
        correlation_id="",
        time=now.isoformat(),
        node="control plane",
        machine_id=machine.id,
        machine=machine.resource_id,
        tenant_id=machine.tenant_id,
        subscription_id=machine.subscription_id,
        gateway="",
        client_address="",
        target="",
        resolved_address="",
        feature="",
        rule="",
        verdict="",
        reason=REASON,
        detail=describe_conflict(instances),
        policy_revision=0,
    )
    session.add(AuditRow(**columns(record)))
