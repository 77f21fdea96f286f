"""Machine groups: Arcgate.Network/machineGroups, machines by their tags, and what they may of their gateway's."""

from typing import Any

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody, Tags
from arcgate.control.arm.gateways import MOST_FEATURES, canonical_features, endpoint_set_names
from arcgate.control.arm.policy_resources import LONGEST_DESCRIPTION, PolicyResource
from arcgate.control.failures import ApiError
from arcgate.control.store.models import MachineGroupRow
from arcgate.core.policy_settings import Mode
from arcgate.core.resource_ids import MACHINE_GROUP_TYPE

LARGEST_LIMIT = 2**53
"""The largest number that JSON's clients keep exact."""


class LimitsBody(Body):
    """What each machine of the group may have of a gateway node; 0 leaves it to the node's setting."""

    tunnels: int = Field(0, ge=0, le=LARGEST_LIMIT)
    setUpsPerSecond: int = Field(0, ge=0, le=LARGEST_LIMIT)  # noqa: N815 - wire name
    bytesPerSecond: int = Field(0, ge=0, le=LARGEST_LIMIT)  # noqa: N815
    dailyBytes: int = Field(0, ge=0, le=LARGEST_LIMIT)  # noqa: N815


class MachineGroupProperties(Body):
    """What clients may write of a machine group."""

    tags: Tags = None
    allowedFeatures: list[str] | None = Field(None, max_length=MOST_FEATURES)  # noqa: N815 - wire name
    mode: str | None = None
    auditedFeatures: list[str] | None = Field(None, max_length=MOST_FEATURES)  # noqa: N815
    limits: LimitsBody | None = None
    description: str | None = Field(None, max_length=LONGEST_DESCRIPTION)
    provisioningState: ReadOnly = None  # noqa: N815


class MachineGroupBody(ResourceBody):
    """The body of PUT."""

    properties: MachineGroupProperties


async def _columns(session: AsyncSession, call: Call, body: MachineGroupBody, _is_new: bool) -> dict[str, Any]:
    given, catalogue = body.properties, call.context.catalogue
    sets = await endpoint_set_names(session, call)
    allowed = given.allowedFeatures
    return {
        "match_tags": given.tags or {},
        "allowed_features": None if allowed is None else canonical_features(allowed, sets, catalogue),
        "mode": _mode(given.mode),
        "audited_features": canonical_features(given.auditedFeatures or [], sets, catalogue),
        "limits": (given.limits or LimitsBody()).model_dump(),
        "description": given.description or "",
    }


def _mode(text: str | None) -> str:
    try:
        return str(Mode((text or Mode.ENFORCE).lower()))
    except ValueError:
        sentence = f"The mode {str(text)[:60]!a} is none; it is enforce or audit."
        raise ApiError(400, "InvalidMode", sentence, target="properties.mode") from None


def _properties(row: MachineGroupRow) -> dict[str, Any]:
    return {
        "tags": row.match_tags,
        "allowedFeatures": row.allowed_features,
        "mode": row.mode,
        "auditedFeatures": row.audited_features,
        "limits": row.limits,
        "description": row.description,
    }


MACHINE_GROUPS = PolicyResource(
    model=MachineGroupRow,
    resource_type=MACHINE_GROUP_TYPE,
    what="machine group",
    body=MachineGroupBody,
    columns=_columns,
    properties=_properties,
)
routes = MACHINE_GROUPS.routes
