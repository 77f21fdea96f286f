"""Endpoint sets: Arcgate.Network/endpointSets, targets of a tenant's own that gateways can name like features."""

import uuid
from typing import Any

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody, require_location, require_name
from arcgate.control.arm.lookups import find, group_key, listing, require, require_group, resource_key
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import publish_endpoint_set, withdraw_endpoint_set
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new, system_data
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.store import Transaction
from arcgate.control.store.models import EndpointSetRow, ResourceGroup
from arcgate.core.errors import InputError
from arcgate.core.patterns import parse_pattern
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE, ResourceId

READ, WRITE, DELETE = (f"{ENDPOINT_SET_TYPE}/{verb}" for verb in ("read", "write", "delete"))
MOST_ENDPOINTS = 5000
LONGEST_DESCRIPTION = 1000


class EndpointSetProperties(Body):
    """What clients may write of an endpoint set."""

    endpoints: list[str] | None = Field(None, max_length=MOST_ENDPOINTS)
    allowPrivate: bool | None = None  # noqa: N815 - wire name
    description: str | None = Field(None, max_length=LONGEST_DESCRIPTION)
    provisioningState: ReadOnly = None  # noqa: N815


class EndpointSetBody(ResourceBody):
    """The body of PUT."""

    properties: EndpointSetProperties


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of endpoint sets."""
    provider = "providers/Arcgate.Network/endpointSets"
    group = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{provider}"
    verbs = {"GET": Verb(READ, _get), "PUT": Verb(WRITE, _put, EndpointSetBody), "DELETE": Verb(DELETE, _delete)}
    lists = {"GET": Verb("", _list, query=PAGING)}
    return [
        arm_route(context, f"{group}/{{name}}", verbs, ARCGATE),
        arm_route(context, group, lists, ARCGATE),
        arm_route(context, f"/subscriptions/{{subscription}}/{provider}", lists, ARCGATE),
    ]


def render(row: EndpointSetRow) -> dict[str, Any]:
    """Return an endpoint set as ARM shows it."""
    return {
        "id": row.resource_id,
        "name": row.name,
        "type": ENDPOINT_SET_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "systemData": system_data(row),
        "properties": {
            "provisioningState": "Succeeded",
            "endpoints": row.endpoints,
            "allowPrivate": row.allow_private,
            "description": row.description,
        },
    }


def _answer(row: EndpointSetRow, status: int = 200) -> JSONResponse:
    return JSONResponse(render(row), status, headers={"ETag": etag_of(row)})


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        return _answer(await require(session, call, EndpointSetRow, ENDPOINT_SET_TYPE))


async def _list(call: Call) -> Response:
    async with call.context.store.read() as session:
        statement = await listing(call, session, EndpointSetRow, READ)
        return await page_of(call, session, statement, EndpointSetRow.key, render)


async def _put(call: Call) -> Response:
    body = await call.body(EndpointSetBody)
    endpoints = _endpoints(body.properties.endpoints)
    async with call.context.store.write() as transaction:
        group = await require_group(transaction.session, call)
        row = await find(transaction.session, call, EndpointSetRow, ENDPOINT_SET_TYPE)
        check_preconditions(call, row)
        default = row.location if row is not None else group.location
        existing = row.location if row is not None else None
        location = require_location(body.location or default, call.context.configuration, existing)
        is_new = row is None
        if row is None:
            row = _create(transaction, call, group, location)
        else:
            stamp_change(row, call)
        row.tags = body.tags or {}
        row.endpoints = endpoints
        row.allow_private = bool(body.properties.allowPrivate)
        row.description = body.properties.description or ""
        await publish_endpoint_set(transaction, row)
    return _answer(row, 201 if is_new else 200)


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await find(transaction.session, call, EndpointSetRow, ENDPOINT_SET_TYPE)
        if row is not None:
            check_preconditions(call, row)
            transaction.actor = call.caller.name, call.context.clock()
            await remove(transaction, row)
    return Response(status_code=204)


async def remove(transaction: Transaction, row: EndpointSetRow) -> None:
    """Delete an endpoint set; gateways that name it let that much less through."""
    await transaction.session.delete(row)
    await withdraw_endpoint_set(transaction, row)


def _create(transaction: Transaction, call: Call, group: ResourceGroup, location: str) -> EndpointSetRow:
    name = require_name(call.parameters["name"], "endpoint set")
    if name.lower() in {known.lower() for known in call.context.catalogue.names}:
        text = f"There is a feature or scenario named {name!r}; an endpoint set needs a name of its own."
        raise ApiError(400, "InvalidResourceName", text)
    row = EndpointSetRow(
        id=str(uuid.uuid4()),
        key=resource_key(call, ENDPOINT_SET_TYPE),
        group_key=group_key(call),
        subscription_id=call.subscription_id,
        tenant_id=call.caller.tenant_id,
        resource_id=str(ResourceId(call.subscription_id, group.name, ENDPOINT_SET_TYPE, name)),
        name=name,
        location=location,
    )
    stamp_new(row, call)
    transaction.session.add(row)
    return row


def _endpoints(given: list[str] | None) -> list[str]:
    if not given:
        text = "An endpoint set needs at least one endpoint."
        raise ApiError(400, "InvalidRequestContent", text, target="properties.endpoints")
    try:
        return list(dict.fromkeys(parse_pattern(text).text for text in given))
    except InputError as error:
        raise refuse_input(error, "InvalidEndpoint", "properties.endpoints") from None
