"""Connections to machines: the grant for one, and cutting those that there are."""

import secrets
from datetime import timedelta

from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body
from arcgate.control.arm.lookups import require
from arcgate.control.arm.publication import gateway_of
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.incoming import cut_connections, hash_of, keep_grant
from arcgate.control.store.models import GatewayRow, IncomingConnection, MachineRow
from arcgate.core.audit import printable
from arcgate.core.incoming import LOGIN_ACTION
from arcgate.core.resource_ids import MACHINE_TYPE

CUT = "Arcgate.Network/machines/cutIncomingConnections/action"


class GrantBody(Body):
    """Which port is wanted."""

    port: int = Field(ge=1, le=65_535)


class CutBody(Body):
    """Which connection is to end; all of the machine without it."""

    tunnelId: str = Field("", max_length=100)  # noqa: N815 - wire name


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of connections to machines."""
    machine = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{name}"
    return [
        arm_route(context, f"{machine}/grantIncomingConnection", {"POST": Verb("", _grant, GrantBody)}, ARCGATE),
        arm_route(context, f"{machine}/cutIncomingConnections", {"POST": Verb(CUT, _cut, CutBody)}, ARCGATE),
    ]


async def _grant(call: Call) -> Response:
    _require_login(call)
    body = await call.body(GrantBody)
    now, settings = call.context.clock(), call.context.configuration
    grant, expires_at = secrets.token_urlsafe(32), now + timedelta(seconds=settings.control.incoming_grant_lifetime)
    async with call.context.store.write() as transaction:
        machine = await require(transaction.session, call, MachineRow, MACHINE_TYPE)
        gateway = _gateway_of(machine, await gateway_of(transaction.session, machine.id))
        row = IncomingConnection(
            grant_hash=hash_of(grant),
            machine_id=machine.id,
            port=body.port,
            requester=printable(f"{call.caller.name} {call.caller.principal_id}", 300),
            holders=list(call.caller.holders),
            expires_at=expires_at,
            tunnel_id=None,
            is_cut=False,
        )
        await keep_grant(transaction, row, now)
    document = {
        "grant": grant,
        "machineId": machine.id,
        "port": body.port,
        "expiresOn": expires_at.isoformat(timespec="seconds"),
        "gateway": {"host": f"{gateway.prefix}{settings.gateway_suffix}", "port": settings.cloud.public_port},
    }
    return JSONResponse(document, headers={"Cache-Control": "no-store"})


def _require_login(call: Call) -> None:
    scope = call.scope.removesuffix("/grantincomingconnection")
    if not call.caller.permits_data(LOGIN_ACTION, scope):
        raise ApiError(
            403,
            "AuthorizationFailed",
            f"The client '{call.caller.name}' with object id '{call.caller.principal_id}' does not have authorization "
            f"to perform data action '{LOGIN_ACTION}' over scope '{scope}'.",
            remedy="Have the role 'Virtual Machine User Login' assigned there; Owner does not include it.",
        )


def _gateway_of(machine: MachineRow, gateway: GatewayRow | None) -> GatewayRow:
    if gateway is None:
        raise ApiError(
            409,
            "GatewayNeeded",
            f"The machine '{machine.name}' has no gateway to connect by.",
            remedy="Associate it with one: arcgate setting update.",
        )
    return gateway


async def _cut(call: Call) -> Response:
    body = await call.body(CutBody)
    async with call.context.store.write() as transaction:
        machine = await require(transaction.session, call, MachineRow, MACHINE_TYPE)
        count = await cut_connections(transaction, machine.id, body.tunnelId)
    return JSONResponse({"cut": count})
