"""Machine groups: Arcgate.Network/machineGroups, machines by their tags, and what they may of their gateway's."""

import uuid
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody, Tags, require_location, require_name
from arcgate.control.arm.gateways import MOST_FEATURES, canonical_features, endpoint_set_names
from arcgate.control.arm.lookups import find, group_key, listing, require, require_group, resource_key
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import publish_machine_group, withdraw_machine_group
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new, system_data
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.store import Transaction
from arcgate.control.store.models import MachineGroupRow, ResourceGroup
from arcgate.core.policy_settings import Mode
from arcgate.core.resource_ids import MACHINE_GROUP_TYPE, ResourceId

READ, WRITE, DELETE = (f"{MACHINE_GROUP_TYPE}/{verb}" for verb in ("read", "write", "delete"))
LONGEST_DESCRIPTION = 1000
LARGEST_LIMIT = 2**53
"""The largest number that JSON's clients keep exact."""


class LimitsBody(Body):
    """What each machine of the group may have of a gateway's worker; 0 leaves it to the node's setting."""

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


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of machine groups."""
    provider = "providers/Arcgate.Network/machineGroups"
    group = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{provider}"
    verbs = {"GET": Verb(READ, _get), "PUT": Verb(WRITE, _put, MachineGroupBody), "DELETE": Verb(DELETE, _delete)}
    lists = {"GET": Verb("", _list, query=PAGING)}
    return [
        arm_route(context, f"{group}/{{name}}", verbs, ARCGATE),
        arm_route(context, group, lists, ARCGATE),
        arm_route(context, f"/subscriptions/{{subscription}}/{provider}", lists, ARCGATE),
    ]


def render(row: MachineGroupRow) -> dict[str, Any]:
    """Return a machine group as ARM shows it."""
    return {
        "id": row.resource_id,
        "name": row.name,
        "type": MACHINE_GROUP_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "systemData": system_data(row),
        "properties": {
            "provisioningState": "Succeeded",
            "tags": row.match_tags,
            "allowedFeatures": row.allowed_features,
            "mode": row.mode,
            "auditedFeatures": row.audited_features,
            "limits": row.limits,
            "description": row.description,
        },
    }


def _answer(row: MachineGroupRow, status: int = 200) -> JSONResponse:
    return JSONResponse(render(row), status, headers={"ETag": etag_of(row)})


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        return _answer(await require(session, call, MachineGroupRow, MACHINE_GROUP_TYPE))


async def _list(call: Call) -> Response:
    async with call.context.store.read() as session:
        statement = await listing(call, session, MachineGroupRow, READ)
        return await page_of(call, session, statement, MachineGroupRow.key, render)


async def _put(call: Call) -> Response:
    body = await call.body(MachineGroupBody)
    async with call.context.store.write() as transaction:
        group = await require_group(transaction.session, call)
        row = await find(transaction.session, call, MachineGroupRow, MACHINE_GROUP_TYPE)
        check_preconditions(call, row)
        sets = await endpoint_set_names(transaction.session, call)
        default = row.location if row is not None else group.location
        existing = row.location if row is not None else None
        location = require_location(body.location or default, call.context.configuration, existing)
        is_new = row is None
        if row is None:
            row = _create(transaction, call, group, location)
        else:
            stamp_change(row, call)
        row.tags = body.tags or {}
        _fill(row, call, body.properties, sets)
        await publish_machine_group(transaction, row)
    return _answer(row, 201 if is_new else 200)


def _fill(row: MachineGroupRow, call: Call, given: MachineGroupProperties, sets: list[str]) -> None:
    catalogue = call.context.catalogue
    allowed = given.allowedFeatures
    row.match_tags = given.tags or {}
    row.allowed_features = None if allowed is None else canonical_features(allowed, sets, catalogue)
    row.mode = _mode(given.mode)
    row.audited_features = canonical_features(given.auditedFeatures or [], sets, catalogue)
    row.limits = (given.limits or LimitsBody()).model_dump()
    row.description = given.description or ""


def _mode(text: str | None) -> str:
    try:
        return str(Mode((text or Mode.ENFORCE).lower()))
    except ValueError:
        sentence = f"The mode {str(text)[:60]!a} is none; it is enforce or audit."
        raise ApiError(400, "InvalidMode", sentence, target="properties.mode") from None


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await find(transaction.session, call, MachineGroupRow, MACHINE_GROUP_TYPE)
        if row is not None:
            check_preconditions(call, row)
            transaction.actor = call.caller.name, call.context.clock()
            await remove(transaction, row)
    return Response(status_code=204)


async def remove(transaction: Transaction, row: MachineGroupRow) -> None:
    """Delete a machine group; its machines get what their gateway and other groups allow."""
    await transaction.session.delete(row)
    await withdraw_machine_group(transaction, row)


def _create(transaction: Transaction, call: Call, group: ResourceGroup, location: str) -> MachineGroupRow:
    name = require_name(call.parameters["name"], "machine group")
    row = MachineGroupRow(
        id=str(uuid.uuid4()),
        key=resource_key(call, MACHINE_GROUP_TYPE),
        group_key=group_key(call),
        subscription_id=call.subscription_id,
        tenant_id=call.caller.tenant_id,
        resource_id=str(ResourceId(call.subscription_id, group.name, MACHINE_GROUP_TYPE, name)),
        name=name,
        location=location,
    )
    stamp_new(row, call)
    transaction.session.add(row)
    return row
