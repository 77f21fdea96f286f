"""What the cloud's audit tells of the targets that the gateway has carried for this machine."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from arcgate.agent.arm import ResourceManager
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.state import AgentIdentity
from arcgate.core.errors import HopError, InputError
from arcgate.core.names import Target, parse_target

MOST_RECORDS = 50_000
"""Records that are read; of a busier machine only the newest."""


async def read_carried(
    manager: ResourceManager, identity: AgentIdentity, since: datetime
) -> tuple[dict[Target, datetime], tuple[str, ...]]:
    """Return the targets with the last time of each, and notes on what kept us from knowing all."""
    try:
        records = await manager.audit_records(identity.subscription_id, identity.vm_id, since, MOST_RECORDS)
    except (HopError, ServiceRefusal) as error:
        return {}, (f"The audit could not be read: {error.sentence}",)
    notes = (f"Of the audit only the newest {len(records)} records were read.",) if len(records) >= MOST_RECORDS else ()
    return carried_targets(records), notes


def carried_targets(records: Iterable[Mapping[str, Any]]) -> dict[Target, datetime]:
    """Return the targets of start records with the last time of each. Pure."""
    found: dict[Target, datetime] = {}
    for record in records:
        try:
            target, moment = parse_target(str(record.get("target"))), datetime.fromisoformat(str(record.get("time")))
        except (InputError, ValueError):
            continue
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found[target] = max(moment, found.get(target, moment))
    return found
