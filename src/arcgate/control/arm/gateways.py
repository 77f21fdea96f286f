"""Gateways: Microsoft.HybridCompute/gateways. Writes are done when they are answered."""

import secrets
import uuid
from typing import Any

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody, require_location, require_name
from arcgate.control.arm.lookups import find, group_key, listing, require, require_group, resource_key
from arcgate.control.arm.operations import polling_headers, record_done
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import machines_of, publish_gateway, publish_machine, withdraw_gateway
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new, system_data
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.store import Transaction
from arcgate.control.store.models import EndpointSetRow, GatewayRow, ResourceGroup, SettingRow, Subscription
from arcgate.core.catalogue import ALL_FEATURES, Catalogue
from arcgate.core.errors import InputError
from arcgate.core.hand_over import MODES
from arcgate.core.names import parse_host_name
from arcgate.core.policy_settings import PLAIN, check_policy, parse_policy, render_policy
from arcgate.core.resource_ids import GATEWAY_TYPE, ResourceId

READ, WRITE, DELETE = (f"{GATEWAY_TYPE}/{verb}" for verb in ("read", "write", "delete"))
NAMED_MACHINES = 5
"""Machines that a refusal names."""
MOST_FEATURES = 200
MOST_BYPASSED = 200


class GatewayProperties(Body):
    """What clients may write of a gateway."""

    allowedFeatures: list[str] | None = Field(None, max_length=MOST_FEATURES)  # noqa: N815 - wire name
    gatewayType: str | None = None  # noqa: N815
    gatewayBypass: list[str] | None = Field(None, max_length=MOST_BYPASSED)  # noqa: N815
    handOver: str | None = None  # noqa: N815
    policy: dict[str, Any] | None = None
    signedChannels: bool | None = None  # noqa: N815
    gatewayId: ReadOnly = None  # noqa: N815
    gatewayEndpoint: ReadOnly = None  # noqa: N815
    provisioningState: ReadOnly = None  # noqa: N815


class GatewayBody(ResourceBody):
    """The body of PUT."""

    properties: GatewayProperties | None = None


class GatewayPatch(ResourceBody):
    """The body of PATCH."""

    properties: GatewayProperties | None = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of gateways."""
    provider = "providers/Microsoft.HybridCompute/gateways"
    group = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{provider}"
    verbs = {
        "GET": Verb(READ, _get),
        "PUT": Verb(WRITE, _put, GatewayBody),
        "PATCH": Verb(WRITE, _patch, GatewayPatch),
        "DELETE": Verb(DELETE, _delete, query=("force",)),
    }
    return [
        arm_route(context, f"{group}/{{name}}", verbs),
        arm_route(context, group, {"GET": Verb("", _list, query=PAGING)}),
        arm_route(context, f"/subscriptions/{{subscription}}/{provider}", {"GET": Verb("", _list, query=PAGING)}),
    ]


def render(row: GatewayRow, suffix: str) -> dict[str, Any]:
    """Return a gateway as ARM shows it; `suffix` follows the prefix in its endpoint."""
    return {
        "id": row.resource_id,
        "name": row.name,
        "type": GATEWAY_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "systemData": system_data(row),
        "properties": {
            "provisioningState": "Succeeded",
            "gatewayId": row.id,
            "gatewayType": row.gateway_type,
            "gatewayEndpoint": f"{row.prefix}{suffix}",
            "allowedFeatures": row.allowed_features,
            "gatewayBypass": row.bypass,
            # The original has no such property: whoever sets none never sees it.
            **({"handOver": row.hand_over} if row.hand_over else {}),
            **({"policy": row.policy} if row.policy else {}),
            **({"signedChannels": True} if row.signed_channels else {}),
        },
    }


def _answer(call: Call, row: GatewayRow, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    document = render(row, call.context.configuration.gateway_suffix)
    return JSONResponse(document, status, headers={"ETag": etag_of(row), **(headers or {})})


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        return _answer(call, await require(session, call, GatewayRow, GATEWAY_TYPE))


async def _list(call: Call) -> Response:
    suffix = call.context.configuration.gateway_suffix
    async with call.context.store.read() as session:
        statement = await listing(call, session, GatewayRow, READ)
        return await page_of(call, session, statement, GatewayRow.key, lambda row: render(row, suffix))


async def _put(call: Call) -> Response:
    body = await call.body(GatewayBody)
    async with call.context.store.write() as transaction:
        session = transaction.session
        group = await require_group(session, call)
        row = await find(session, call, GatewayRow, GATEWAY_TYPE)
        check_preconditions(call, row)
        location = require_location(body.location, call.context.configuration, row.location if row else None)
        is_new = row is None
        if row is None:
            row = await _create(transaction, call, group, location)
        given = body.properties or GatewayProperties()
        changes = {"tags": body.tags or {}, **await _given(session, call, given)}
        if _apply(row, changes, call, is_new=is_new):
            await session.flush()
            await publish_gateway(transaction, row)
        document = render(row, call.context.configuration.gateway_suffix)
        operation = await record_done(transaction, call, WRITE, row.resource_id, document)
    return _answer(call, row, 201 if is_new else 200, polling_headers(call, operation, row.location))


async def _patch(call: Call) -> Response:
    body = await call.body(GatewayPatch)
    async with call.context.store.write() as transaction:
        row = await require(transaction.session, call, GatewayRow, GATEWAY_TYPE)
        check_preconditions(call, row)
        if body.location is not None:
            require_location(body.location, call.context.configuration, row.location)
        changes = await _given(transaction.session, call, body.properties or GatewayProperties())
        if "tags" in body.model_fields_set:
            changes["tags"] = body.tags or {}
        if _apply(row, changes, call, is_new=False):
            await publish_gateway(transaction, row)
    return _answer(call, row)


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await find(transaction.session, call, GatewayRow, GATEWAY_TYPE)
        check_preconditions(call, row) if row is not None else None
        if row is None:
            return Response(status_code=204)
        await release_machines(transaction, call, row, force=call.option("force").lower() == "true")
        transaction.actor = call.caller.name, call.context.clock()
        await remove(transaction, row)
        operation = await record_done(transaction, call, DELETE, row.resource_id, None)
    return Response(status_code=202, headers=polling_headers(call, operation, row.location))


async def remove(transaction: Transaction, row: GatewayRow) -> None:
    """Delete a gateway with which no machine is associated any more."""
    await transaction.session.delete(row)
    await withdraw_gateway(transaction, row)


async def release_machines(transaction: Transaction, call: Call, row: GatewayRow, *, force: bool) -> None:
    """Remove all associations with the gateway; raises ApiError 409 (GatewayInUse) unless forced."""
    machines = await machines_of(transaction.session, [row.id])
    if not machines:
        return
    if not force:
        raise _in_use(call, row, [machine.resource_id for machine in machines])
    for machine in machines:
        setting = await transaction.session.get_one(SettingRow, machine.id)
        setting.gateway_id = None
        await publish_machine(transaction, machine)


def _in_use(call: Call, row: GatewayRow, machines: list[str]) -> ApiError:
    seen = [one for one in machines if call.caller.permits("Microsoft.HybridCompute/machines/read", one)]
    shown = ", ".join(one.rpartition("/")[2] for one in seen[:NAMED_MACHINES])
    more = " and others" if shown and len(machines) > min(len(seen), NAMED_MACHINES) else ""
    count = "1 machine is" if len(machines) == 1 else f"{len(machines)} machines are"
    return ApiError(
        409,
        "GatewayInUse",
        f"The gateway '{row.name}' can't be deleted: {count} associated with it{f' ({shown}{more})' if shown else ''}.",
        remedy="Detach them first, or delete with --force (query parameter force=true), which detaches them.",
        details=[
            {"code": "AssociatedMachine", "target": one, "message": "Associated."} for one in seen[:NAMED_MACHINES]
        ],
    )


async def _create(transaction: Transaction, call: Call, group: ResourceGroup, location: str) -> GatewayRow:
    name = require_name(call.parameters["name"], "gateway")
    await _require_quota(transaction.session, call)
    row = GatewayRow(
        id=str(uuid.uuid4()),
        key=resource_key(call, GATEWAY_TYPE),
        group_key=group_key(call),
        subscription_id=call.subscription_id,
        tenant_id=call.caller.tenant_id,
        resource_id=str(ResourceId(call.subscription_id, group.name, GATEWAY_TYPE, name)),
        name=name,
        location=location,
        tags={},
        prefix=fresh_prefix(),
        gateway_type="Public",
        allowed_features=[ALL_FEATURES],
        bypass=[],
        hand_over="",
        signed_channels=False,
    )
    stamp_new(row, call)
    transaction.session.add(row)
    return row


def fresh_prefix() -> str:
    """Return a random label, which tells nothing and can't be guessed."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


async def _require_quota(session: AsyncSession, call: Call) -> None:
    # The lock makes parallel creations wait for each other where the database has more than one writer.
    await session.execute(select(Subscription).where(Subscription.id == call.subscription_id).with_for_update())
    statement = select(func.count()).select_from(GatewayRow).where(GatewayRow.subscription_id == call.subscription_id)
    used, limit = (
        (await session.execute(statement)).scalar_one(),
        call.context.configuration.control.gateways_per_subscription,
    )
    if used >= limit:
        raise ApiError(
            409,
            "QuotaExceeded",
            f"The subscription has {used} gateways, and its quota is {limit}.",
            remedy="Delete one that is not in use, or raise control.gateways_per_subscription in arcgate.toml.",
        )


async def _given(session: AsyncSession, call: Call, given: GatewayProperties) -> dict[str, Any]:
    """Return the columns that the properties set, checked; what is not given stays as it is."""
    changes: dict[str, Any] = {}
    if given.gatewayType is not None and given.gatewayType.lower() != "public":
        text = f"The gateway type {given.gatewayType[:60]!a} is not supported; it is Public."
        raise ApiError(400, "InvalidGatewayType", text, target="properties.gatewayType")
    if given.allowedFeatures is not None:
        sets = await endpoint_set_names(session, call)
        changes["allowed_features"] = canonical_features(given.allowedFeatures, sets, call.context.catalogue)
    if given.gatewayBypass is not None:
        changes["bypass"] = _host_names(given.gatewayBypass)
    if "policy" in given.model_fields_set:
        changes["policy"] = await policy_of(session, call, given.policy)
    if given.handOver is not None:
        changes["hand_over"] = _mode(given.handOver)
    if given.signedChannels is not None:
        changes["signed_channels"] = given.signedChannels
    return changes


async def endpoint_set_names(session: AsyncSession, call: Call) -> list[str]:
    """Return the names of the tenant's endpoint sets."""
    statement = select(EndpointSetRow.name).where(EndpointSetRow.tenant_id == call.caller.tenant_id)
    return list((await session.execute(statement)).scalars())


async def policy_of(session: AsyncSession, call: Call, document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return policy settings as they are kept, None when they say nothing; raises ApiError 400 (InvalidPolicy)."""
    try:
        settings = parse_policy(document)
        check_policy(settings, call.context.catalogue)
    except InputError as error:
        raise refuse_input(error, "InvalidPolicy", "properties.policy") from None
    canonical_features(list(settings.audited_features), await endpoint_set_names(session, call), call.context.catalogue)
    return None if settings == PLAIN else render_policy(settings)


def canonical_features(names: list[str], endpoint_sets: list[str], catalogue: Catalogue) -> list[str]:
    """Return allowedFeatures in the catalogue's casing, each once; raises ApiError 400 (InvalidAllowedFeatures)."""
    target = "properties.allowedFeatures"
    try:
        catalogue.check_names(names, endpoint_sets)
    except InputError as error:
        raise ApiError(
            400,
            "InvalidAllowedFeatures",
            f"{error.sentence} If you wrote * without quotes, the shell replaced it by names of files.",
            remedy=error.remedy,
            target=target,
        ) from None
    if ALL_FEATURES in names and len(names) > 1:
        text = "'*' stands for all features and can't stand beside others in allowedFeatures."
        raise ApiError(400, "InvalidAllowedFeatures", text, target=target)
    spelled = {name.lower(): name for name in (*endpoint_sets, *catalogue.names, ALL_FEATURES)}
    return list(dict.fromkeys(spelled[name.lower()] for name in names))


def _mode(text: str) -> str:
    if text not in MODES:
        words = f"{text[:60]!a} is no mode of hand-over; they are {', '.join(MODES)}."
        raise ApiError(400, "InvalidHandOver", words, target="properties.handOver")
    return text


def _host_names(names: list[str]) -> list[str]:
    try:
        return list(dict.fromkeys(parse_host_name(name) for name in names))
    except InputError as error:
        raise refuse_input(error, "InvalidGatewayBypass", "properties.gatewayBypass") from None


def _apply(row: GatewayRow, changes: dict[str, Any], call: Call, *, is_new: bool) -> bool:
    """Set the columns, and say whether the gateway is another than before."""
    different = {column: value for column, value in changes.items() if getattr(row, column) != value}
    for column, value in different.items():
        setattr(row, column, value)
    if different and not is_new:
        stamp_change(row, call)
    return is_new or bool(different)
