"""Resource groups, and the list of all resources of a subscription or group."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm import gateways, machines
from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.endpoint_sets import ENDPOINT_SETS
from arcgate.control.arm.fields import ReadOnly, ResourceBody, require_location, require_name
from arcgate.control.arm.filters import GROUP_FIELDS, RESOURCE_FIELDS, caseless, parse_filter, tag_conditions
from arcgate.control.arm.lookups import ResourceRow, group_key, require_group
from arcgate.control.arm.machine_groups import MACHINE_GROUPS
from arcgate.control.arm.operations import group_headers, record_done
from arcgate.control.arm.paging import make_token, next_link, page_of, page_size, read_token, visible
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new
from arcgate.control.arm.versions import RESOURCES
from arcgate.control.context import ControlContext
from arcgate.control.store import Transaction
from arcgate.control.store.models import (
    EndpointSetRow,
    ExtensionRow,
    GatewayRow,
    MachineGroupRow,
    MachineRow,
    ResourceGroup,
)
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE, EXTENSION_TYPE, GATEWAY_TYPE, MACHINE_GROUP_TYPE, MACHINE_TYPE

GROUP_TYPE = "Microsoft.Resources/resourceGroups"
_NAMESPACE = "Microsoft.Resources/subscriptions/resourceGroups"
READ, WRITE, DELETE = (f"{_NAMESPACE}/{verb}" for verb in ("read", "write", "delete"))
READ_RESOURCES = "Microsoft.Resources/subscriptions/resources/read"

_TYPES: dict[str, type[GatewayRow | MachineRow | ExtensionRow | EndpointSetRow | MachineGroupRow]] = {
    GATEWAY_TYPE: GatewayRow,
    MACHINE_TYPE: MachineRow,
    EXTENSION_TYPE: ExtensionRow,
    ENDPOINT_SET_TYPE: EndpointSetRow,
    MACHINE_GROUP_TYPE: MachineGroupRow,
}


class GroupBody(ResourceBody):
    """The body of PUT and PATCH."""

    managedBy: ReadOnly = None  # noqa: N815 - wire name
    properties: ReadOnly = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of resource groups and of lists of resources."""
    groups = "/subscriptions/{subscription}/resourceGroups"
    verbs = {
        "GET": Verb(READ, _get),
        "HEAD": Verb(READ, _head),
        "PUT": Verb(WRITE, _put, GroupBody),
        "PATCH": Verb(WRITE, _patch, GroupBody),
        "DELETE": Verb(DELETE, _delete),
    }
    return [
        arm_route(context, f"{groups}/{{group}}", verbs, RESOURCES),
        arm_route(context, groups, {"GET": Verb("", _list, query=(*PAGING, "$filter"))}, RESOURCES),
        arm_route(
            context,
            f"{groups}/{{group}}/resources",
            {"GET": Verb("", _list_resources, query=(*PAGING, "$filter"))},
            RESOURCES,
        ),
        arm_route(
            context,
            "/subscriptions/{subscription}/resources",
            {"GET": Verb("", _list_resources, query=(*PAGING, "$filter"))},
            RESOURCES,
        ),
    ]


def _render(row: ResourceGroup) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{row.subscription_id}/resourceGroups/{row.name}",
        "name": row.name,
        "type": GROUP_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "properties": {"provisioningState": "Succeeded"},
    }


def _answer(row: ResourceGroup, status: int = 200) -> JSONResponse:
    return JSONResponse(_render(row), status, headers={"ETag": etag_of(row)})


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        return _answer(await require_group(session, call))


async def _head(call: Call) -> Response:
    async with call.context.store.read() as session:
        found = await session.get(ResourceGroup, group_key(call))
    return Response(status_code=204 if found is not None else 404)


async def _list(call: Call) -> Response:
    wanted = parse_filter(call.option("$filter"), GROUP_FIELDS)
    statement = select(ResourceGroup).where(
        ResourceGroup.subscription_id == call.subscription_id, *tag_conditions(wanted, ResourceGroup.tags)
    )
    condition = visible(call, READ, ResourceGroup.key, f"/subscriptions/{call.subscription_id}")
    if condition is not None:
        statement = statement.where(condition)
    async with call.context.store.read() as session:
        return await page_of(call, session, statement, ResourceGroup.key, _render)


async def _put(call: Call) -> Response:
    body = await call.body(GroupBody)
    async with call.context.store.write() as transaction:
        row = await transaction.session.get(ResourceGroup, group_key(call))
        check_preconditions(call, row)
        location = require_location(body.location, call.context.configuration, row.location if row else None)
        if row is not None:
            row.tags = body.tags or {}
            stamp_change(row, call)
            return _answer(row)
        row = ResourceGroup(
            key=group_key(call),
            subscription_id=call.subscription_id,
            name=require_name(call.parameters["group"], "resource group"),
            location=location,
            tags=body.tags or {},
        )
        stamp_new(row, call)
        transaction.session.add(row)
    return _answer(row, 201)


async def _patch(call: Call) -> Response:
    body = await call.body(GroupBody)
    async with call.context.store.write() as transaction:
        row = await require_group(transaction.session, call)
        check_preconditions(call, row)
        if "tags" in body.model_fields_set:
            row.tags = body.tags or {}
            stamp_change(row, call)
    return _answer(row)


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await require_group(transaction.session, call)
        check_preconditions(call, row)
        await _empty(transaction, call, row)
        await transaction.session.flush()
        await transaction.session.delete(row)
        operation = await record_done(transaction, call, DELETE, row.key, None)
    return Response(status_code=202, headers=group_headers(call, operation))


async def _empty(transaction: Transaction, call: Call, group: ResourceGroup) -> None:
    """Delete all resources of the group; machines first, since they hold gateways in use."""
    session = transaction.session
    for machine in await _rows_of(session, MachineRow, group):
        await machines.remove(transaction, machine, call.context.clock())
    await session.flush()
    for gateway in await _rows_of(session, GatewayRow, group):
        await gateways.release_machines(transaction, call, gateway, force=False)
        await gateways.remove(transaction, gateway)
    for endpoint_set in await _rows_of(session, EndpointSetRow, group):
        await ENDPOINT_SETS.remove(transaction, endpoint_set)
    for machine_group in await _rows_of(session, MachineGroupRow, group):
        await MACHINE_GROUPS.remove(transaction, machine_group)


async def _rows_of(session: AsyncSession, model: type[ResourceRow], group: ResourceGroup) -> Sequence[ResourceRow]:
    statement = select(model).where(model.group_key == group.key)
    return (await session.execute(statement)).scalars().all()


async def _list_resources(call: Call) -> Response:
    scope = f"/subscriptions/{call.subscription_id}"
    wanted = parse_filter(call.option("$filter"), RESOURCE_FIELDS)
    wanted_type = wanted.get("resourcetype", "").lower()
    selects = []
    for name, model in _TYPES.items():
        if wanted_type not in ("", name.lower()):
            continue
        statement = select(
            model.key, model.resource_id, model.name, literal(name).label("type"), model.location, model.tags
        )
        statement = statement.where(model.subscription_id == call.subscription_id)
        if "group" in call.parameters:
            statement = statement.where(model.group_key == group_key(call))
        statement = statement.where(*_conditions(call, wanted, model))
        condition = visible(call, f"{name}/read", model.key, scope)
        selects.append(statement if condition is None else statement.where(condition))
    if not selects:
        return JSONResponse({"value": []})
    everything = union_all(*selects).subquery()
    size, token = page_size(call), call.option("$skiptoken")
    query = select(everything).order_by(everything.c.key).limit(size + 1)
    async with call.context.store.read() as session:
        if "group" in call.parameters:
            await require_group(session, call)
        rows = (await session.execute(query.where(everything.c.key > read_token(token)) if token else query)).all()
    page: dict[str, Any] = {"value": [_resource(row) for row in rows[:size]]}
    if len(rows) > size:
        page["nextLink"] = next_link(call, make_token(rows[size - 1].key))
    return JSONResponse(page)


def _conditions(call: Call, wanted: Mapping[str, str], model: Any) -> list[ColumnElement[bool]]:
    """Return what a filter wants of the rows of a type, which is looked at before."""
    columns = {"name": model.name, "location": model.location}
    conditions = [caseless(column, wanted[name]) for name, column in columns.items() if name in wanted]
    if "resourcegroup" in wanted:
        group = f"/subscriptions/{call.subscription_id}/resourcegroups/{wanted['resourcegroup'].lower()}"
        conditions.append(model.group_key == group)
    return [*conditions, *tag_conditions(wanted, model.tags)]


def _resource(row: Any) -> dict[str, Any]:
    return {
        "id": row.resource_id,
        "name": _full_name(row.resource_id),
        "type": row.type,
        "location": row.location,
        "tags": row.tags or {},
    }


def _full_name(resource_id: str) -> str:
    """Return the name with those of the resources above it, as lists of resources show it."""
    return "/".join(resource_id.rpartition("/providers/")[2].split("/")[2::2])
