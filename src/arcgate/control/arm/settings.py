"""Settings: the association of a machine with a gateway, at machines/{m}/providers/…/settings/default."""

from typing import Any

from sqlalchemy import select
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody
from arcgate.control.arm.gateways import READ as READ_GATEWAY
from arcgate.control.arm.lookups import require
from arcgate.control.arm.publication import gateway_of, publish_machine
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.store import Transaction
from arcgate.control.store.models import GatewayRow, MachineRow, SettingRow
from arcgate.core.errors import InputError
from arcgate.core.resource_ids import GATEWAY_TYPE, MACHINE_TYPE, SETTINGS_TYPE, parse_resource_id

READ, WRITE = f"{SETTINGS_TYPE}/read", f"{SETTINGS_TYPE}/write"


class GatewayLink(Body):
    """gatewayProperties; null, "" and no id at all mean no gateway."""

    gatewayResourceId: str | None = None  # noqa: N815 - wire name


class SettingsProperties(Body):
    """What clients may write of settings."""

    gatewayProperties: GatewayLink | None = None  # noqa: N815 - wire name
    tenantId: ReadOnly = None  # noqa: N815


class SettingsBody(ResourceBody):
    """The body of PUT and PATCH."""

    properties: SettingsProperties | None = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of settings; some clients write `machine` for `machines`."""
    group = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute"
    verbs = {
        "GET": Verb(READ, _get),
        "PUT": Verb(WRITE, _put, SettingsBody),
        "PATCH": Verb(WRITE, _patch, SettingsBody),
    }
    tail = "{name}/providers/Microsoft.HybridCompute/settings/{settings}"
    return [arm_route(context, f"{group}/{kind}/{tail}", verbs) for kind in ("machines", "machine")]


async def _get(call: Call) -> Response:
    _require_default(call)
    async with call.context.store.read() as session:
        machine = await require(session, call, MachineRow, MACHINE_TYPE)
        return _answer(machine, await gateway_of(session, machine.id))


async def _put(call: Call) -> Response:
    return await _write(call, await call.body(SettingsBody), replaces=True)


async def _patch(call: Call) -> Response:
    return await _write(call, await call.body(SettingsBody), replaces=False)


async def _write(call: Call, body: SettingsBody, *, replaces: bool) -> Response:
    _require_default(call)
    properties = body.properties or SettingsProperties()
    link = properties.gatewayProperties or GatewayLink()
    is_given = "gatewayProperties" in properties.model_fields_set and (
        properties.gatewayProperties is None or "gatewayResourceId" in link.model_fields_set
    )
    async with call.context.store.write() as transaction:
        session = transaction.session
        machine = await require(session, call, MachineRow, MACHINE_TYPE)
        if replaces or is_given:
            await _associate(transaction, machine, await _gateway(transaction, call, link.gatewayResourceId or ""))
        return _answer(machine, await gateway_of(session, machine.id))


async def _associate(transaction: Transaction, machine: MachineRow, gateway: GatewayRow | None) -> None:
    setting = await transaction.session.get(SettingRow, machine.id)
    if setting is None:
        setting = SettingRow(machine_id=machine.id, gateway_id=None)
        transaction.session.add(setting)
    wanted = gateway.id if gateway is not None else None
    if setting.gateway_id != wanted:
        setting.gateway_id = wanted
        await publish_machine(transaction, machine)


async def _gateway(transaction: Transaction, call: Call, text: str) -> GatewayRow | None:
    if not text:
        return None
    target = "properties.gatewayProperties.gatewayResourceId"
    try:
        wanted = parse_resource_id(text, GATEWAY_TYPE)
    except InputError as error:
        raise refuse_input(error, "InvalidGatewayResourceId", target) from None
    statement = select(GatewayRow).where(GatewayRow.key == wanted.key)
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    # Whoever may not read a gateway must not learn from the answer that there is one.
    if row is None or row.tenant_id != call.caller.tenant_id or not call.caller.permits(READ_GATEWAY, wanted.key):
        raise ApiError(404, "GatewayNotFound", f"The gateway '{wanted}' was not found.", target=target)
    return row


def _require_default(call: Call) -> None:
    if call.parameters["settings"].lower() != "default":
        text = f"There are no settings {call.parameters['settings'][:60]!a}; their name is 'default'."
        raise ApiError(404, "ResourceNotFound", text)


def _answer(machine: MachineRow, gateway: GatewayRow | None) -> JSONResponse:
    link: dict[str, Any] = {"gatewayResourceId": gateway.resource_id} if gateway is not None else {}
    return JSONResponse(
        {
            "id": f"{machine.resource_id}/providers/{SETTINGS_TYPE}/default",
            "name": "default",
            "type": SETTINGS_TYPE,
            "properties": {"tenantId": machine.tenant_id, "gatewayProperties": link},
        }
    )
