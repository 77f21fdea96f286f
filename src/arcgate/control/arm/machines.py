"""Machines: Microsoft.HybridCompute/machines, and the revocation of their certificates."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control import machine_identity
from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.extensions import extensions_of
from arcgate.control.arm.fields import ReadOnly, ResourceBody, require_location, require_name
from arcgate.control.arm.lookups import find, group_key, listing, require, require_group, resource_key
from arcgate.control.arm.machine_view import FACTS, WRITABLE, render_machine
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import publish_machine, withdraw_machine
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.authority.requests import read_public_key
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.his.revisions import wanted_revision
from arcgate.control.store import Transaction
from arcgate.control.store.models import Heartbeat, MachineCertificate, MachineRow, ResourceGroup
from arcgate.core.errors import InputError
from arcgate.core.guids import is_guid
from arcgate.core.resource_ids import MACHINE_TYPE, ResourceId

READ, WRITE, DELETE = (f"{MACHINE_TYPE}/{verb}" for verb in ("read", "write", "delete"))
REVOKE = "Arcgate.Network/machines/revokeCertificate/action"
LARGEST_PROPERTIES = 256 * 1024
"""Characters of a machine's properties as JSON."""
LONGEST_KIND = 30


class MachineBody(ResourceBody):
    """The body of PUT and PATCH. Properties that we don't know are left aside: newer clients have more."""

    kind: str | None = Field(None, max_length=LONGEST_KIND)
    identity: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    resources: ReadOnly = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of machines."""
    provider = "providers/Microsoft.HybridCompute/machines"
    group = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{provider}"
    verbs = {
        "GET": Verb(READ, _get, query=("$expand",)),
        "PUT": Verb(WRITE, _put, MachineBody),
        "PATCH": Verb(WRITE, _patch, MachineBody),
        "DELETE": Verb(DELETE, _delete),
    }
    return [
        arm_route(context, f"{group}/{{name}}/revokeCertificate", {"POST": Verb(REVOKE, _revoke)}, ARCGATE),
        arm_route(context, f"{group}/{{name}}", verbs),
        arm_route(context, group, {"GET": Verb("", _list, query=PAGING)}),
        arm_route(context, f"/subscriptions/{{subscription}}/{provider}", {"GET": Verb("", _list, query=PAGING)}),
    ]


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        row = await require(session, call, MachineRow, MACHINE_TYPE)
        expand = call.option("$expand").lower()
        if expand not in ("", "instanceview"):
            raise ApiError(
                400, "InvalidQueryParameter", "The query parameter $expand is not supported but for instanceView."
            )
        return await _answer(call, session, row, await extensions_of(session, row.id) if expand else None)


async def _answer(
    call: Call, session: AsyncSession, row: MachineRow, resources: list[dict[str, Any]] | None = None
) -> JSONResponse:
    reports = await _heartbeats(session, [row.id])
    document = _rendered(call, row, reports, await wanted_revision(session, call.context, row.id))
    if resources is not None:
        document["resources"] = resources
    return JSONResponse(document, headers={"ETag": etag_of(row)})


def _rendered(call: Call, row: MachineRow, reports: dict[str, Heartbeat], wanted: int | None = None) -> dict[str, Any]:
    settings = call.context.configuration.control
    return render_machine(row, reports.get(row.id), settings, call.context.clock(), wanted)


async def _heartbeats(session: AsyncSession, ids: Sequence[str]) -> dict[str, Heartbeat]:
    rows = (await session.execute(select(Heartbeat).where(Heartbeat.machine_id.in_(ids)))).scalars()
    return {row.machine_id: row for row in rows}


async def _list(call: Call) -> Response:
    async with call.context.store.read() as session:
        statement = await listing(call, session, MachineRow, READ)
        seen: list[MachineRow] = []
        page = await page_of(call, session, statement, MachineRow.key, lambda row: _note(seen, row))
        reports = await _heartbeats(session, [row.id for row in seen])
        document = json.loads(bytes(page.body))
        return JSONResponse({**document, "value": [_rendered(call, row, reports) for row in seen]})


def _note(seen: list[MachineRow], row: MachineRow) -> dict[str, Any]:
    seen.append(row)
    return {}


async def _put(call: Call) -> Response:
    body = await call.body(MachineBody)
    given = body.properties or {}
    vm_id, public_key = _identity_of(given)
    async with call.context.store.write() as transaction:
        session = transaction.session
        group = await require_group(session, call)
        row = await find(session, call, MachineRow, MACHINE_TYPE)
        check_preconditions(call, row)
        location = require_location(body.location, call.context.configuration, row.location if row else None)
        if row is None:
            row = await _create(transaction, call, group, location, vm_id or str(uuid.uuid4()))
        else:
            _require_same_identity(row, vm_id, public_key)
            stamp_change(row, call)
        row.client_public_key = public_key or row.client_public_key
        row.tags = body.tags or {}
        row.kind = body.kind if "kind" in body.model_fields_set else row.kind
        facts = {key: value for key, value in row.properties.items() if key in FACTS}
        row.properties = _checked_size({**facts, **_known(given)})
        await publish_machine(transaction, row)
        return await _answer(call, session, row)


async def _patch(call: Call) -> Response:
    body = await call.body(MachineBody)
    given = body.properties or {}
    vm_id, public_key = _identity_of(given)
    async with call.context.store.write() as transaction:
        row = await require(transaction.session, call, MachineRow, MACHINE_TYPE)
        check_preconditions(call, row)
        _require_same_identity(row, vm_id, public_key)
        had = row.tags or {}
        if "tags" in body.model_fields_set:
            row.tags = body.tags or {}
        if "kind" in body.model_fields_set:
            row.kind = body.kind
        merged = {**row.properties, **{key: value for key, value in given.items() if key in WRITABLE}}
        row.properties = _checked_size({key: value for key, value in merged.items() if value is not None})
        stamp_change(row, call)
        if row.tags != had:  # they decide on the machine's groups
            await publish_machine(transaction, row)
        return await _answer(call, transaction.session, row)


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await find(transaction.session, call, MachineRow, MACHINE_TYPE)
        if row is not None:
            check_preconditions(call, row)
            await remove(transaction, row, call.context.clock())
    return Response(status_code=204)


async def remove(transaction: Transaction, row: MachineRow, now: datetime) -> None:
    """Delete a machine with its association; its certificates are worth nothing from now on."""
    await _revoke_all(transaction.session, row.id, now)
    await transaction.session.delete(row)
    await machine_identity.remove(transaction.session, row)
    await withdraw_machine(transaction, row.id)


async def _revoke(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await require(transaction.session, call, MachineRow, MACHINE_TYPE)
        serials = await _revoke_all(transaction.session, row.id, call.context.clock())
        await machine_identity.disable(transaction.session, row)
        await publish_machine(transaction, row)
    return JSONResponse({"revokedSerials": serials})


async def _revoke_all(session: AsyncSession, machine_id: str, now: datetime) -> list[str]:
    statement = (
        update(MachineCertificate)
        .where(MachineCertificate.machine_id == machine_id, MachineCertificate.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(MachineCertificate.serial)
    )
    return sorted((await session.execute(statement)).scalars())


async def _create(transaction: Transaction, call: Call, group: ResourceGroup, location: str, vm_id: str) -> MachineRow:
    name = require_name(call.parameters["name"], "machine")
    if await transaction.session.get(MachineRow, vm_id) is not None:
        raise ApiError(
            409,
            "VmIdInUse",
            "Another machine resource has this vmId.",
            remedy="Delete that resource, or let the machine make a vmId of its own: disconnect and connect it again.",
            target="properties.vmId",
        )
    row = MachineRow(
        id=vm_id,
        key=resource_key(call, MACHINE_TYPE),
        group_key=group_key(call),
        subscription_id=call.subscription_id,
        tenant_id=call.caller.tenant_id,
        resource_id=str(ResourceId(call.subscription_id, group.name, MACHINE_TYPE, name)),
        name=name,
        location=location,
        tags={},
        principal_id=str(uuid.uuid4()),
        client_public_key="",
        kind=None,
        properties={},
    )
    stamp_new(row, call)
    transaction.session.add_all([row, machine_identity.principal_of(row, row.created_at)])
    return row


def _identity_of(properties: dict[str, Any]) -> tuple[str, str]:
    """Return vmId and clientPublicKey of a body, empty when they are not given."""
    vm_id, key = properties.get("vmId") or "", properties.get("clientPublicKey") or ""
    if not isinstance(vm_id, str) or (vm_id and not is_guid(vm_id)):
        raise ApiError(400, "InvalidRequestContent", "The vmId must be a GUID.", target="properties.vmId")
    if not isinstance(key, str):
        text = "The clientPublicKey must be a string."
        raise ApiError(400, "InvalidRequestContent", text, target="properties.clientPublicKey")
    try:
        if key:
            read_public_key(key)
    except InputError as error:
        raise refuse_input(error, target="properties.clientPublicKey") from None
    return vm_id.lower(), key


def _require_same_identity(row: MachineRow, vm_id: str, public_key: str) -> None:
    if vm_id and vm_id != row.id:
        raise _conflict(row, "vmId")
    if public_key and row.client_public_key and _packed(public_key) != _packed(row.client_public_key):
        raise _conflict(row, "clientPublicKey")


def _packed(key: str) -> str:
    return "".join(key.split())


def _conflict(row: MachineRow, name: str) -> ApiError:
    return ApiError(
        409,
        "MachineIdentityConflict",
        f"The machine resource '{row.name}' exists with another {name}.",
        remedy="If the machine was installed anew, delete the resource first, then connect it again.",
        target=f"properties.{name}",
    )


def _known(properties: dict[str, Any]) -> dict[str, Any]:
    wanted = WRITABLE | FACTS
    return {key: value for key, value in properties.items() if key in wanted and value is not None}


def _checked_size(properties: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(properties.get("osType", ""), str):
        raise ApiError(400, "InvalidRequestContent", "The osType must be a string.", target="properties.osType")
    if len(json.dumps(properties)) > LARGEST_PROPERTIES:
        raise ApiError(400, "InvalidRequestContent", "The machine's properties are too large.", target="properties")
    return properties
