"""Extensions of machines: Microsoft.HybridCompute/machines/extensions.

A change is published as a change of the machine, whose goal names its extensions (arcgate.control.his.extensions);
instanceView shows what the machine has reported. protectedSettings are sealed in the database and never part of an
answer.
"""

import json
import re
import uuid
from typing import Any

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody, require_location, require_name
from arcgate.control.arm.lookups import require
from arcgate.control.arm.operations import polling_headers, record_done
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import publish_machine
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new, system_data
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.store.models import ExtensionReport, ExtensionRow, MachineRow
from arcgate.core.extension_goals import ExtensionState
from arcgate.core.resource_ids import EXTENSION_TYPE, MACHINE_TYPE

READ, WRITE, DELETE = (f"{EXTENSION_TYPE}/{verb}" for verb in ("read", "write", "delete"))
LARGEST_SETTINGS = 256 * 1024
"""Characters of settings or protectedSettings as JSON."""

_IDENTITY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}\Z")
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}\Z")


class ExtensionProperties(Body):
    """What clients may write of an extension."""

    publisher: str | None = None
    type: str | None = None
    typeHandlerVersion: str | None = None  # noqa: N815 - wire name
    autoUpgradeMinorVersion: bool | None = None  # noqa: N815
    enableAutomaticUpgrade: bool | None = None  # noqa: N815
    forceUpdateTag: str | None = Field(None, max_length=200)  # noqa: N815
    settings: dict[str, Any] | None = None
    protectedSettings: dict[str, Any] | None = None  # noqa: N815
    instanceView: ReadOnly = None  # noqa: N815
    provisioningState: ReadOnly = None  # noqa: N815


class ExtensionBody(ResourceBody):
    """The body of PUT and PATCH."""

    properties: ExtensionProperties | None = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of extensions."""
    machine = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{name}"
    verbs = {
        "GET": Verb(READ, _get),
        "PUT": Verb(WRITE, _put, ExtensionBody),
        "PATCH": Verb(WRITE, _patch, ExtensionBody),
        "DELETE": Verb(DELETE, _delete),
    }
    return [
        arm_route(context, f"{machine}/extensions/{{extension}}", verbs),
        arm_route(context, f"{machine}/extensions", {"GET": Verb(READ, _list, query=PAGING)}),
    ]


def render(row: ExtensionRow, report: ExtensionReport | None = None) -> dict[str, Any]:
    """Return an extension as ARM shows it, without its protected settings."""
    kept = row.properties
    state, version, status = _reported(row, report)
    return {
        "id": row.resource_id,
        "name": row.name,
        "type": EXTENSION_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "systemData": system_data(row),
        "properties": {
            **kept,
            "provisioningState": state,
            "instanceView": {
                "name": row.name,
                "type": kept.get("type"),
                "typeHandlerVersion": version or kept.get("typeHandlerVersion"),
                "status": status,
            },
        },
    }


def _reported(row: ExtensionRow, report: ExtensionReport | None) -> tuple[str, str, dict[str, Any]]:
    """Return provisioningState, installed version and status, as the machine's last report says."""
    if report is None:
        status = {
            "code": "NotReported",
            "level": "Information",
            "displayStatus": "Not reported",
            "message": "The machine has not reported on this extension.",
            "time": row.modified_at.isoformat(),
        }
        return ExtensionState.SUCCEEDED, "", status
    status = {**report.body["status"], "time": report.body["status"]["time"] or report.time.isoformat()}
    is_of_now = report.body["settingsRevision"] >= row.settings_revision
    state = report.body["provisioningState"] if is_of_now else ExtensionState.UPDATING
    return state, report.body["typeHandlerVersion"], status


async def extensions_of(session: AsyncSession, machine_id: str) -> list[dict[str, Any]]:
    """Return the extensions of a machine as ARM shows them."""
    statement = select(ExtensionRow).where(ExtensionRow.machine_id == machine_id).order_by(ExtensionRow.key)
    rows = list((await session.execute(statement)).scalars())
    reports = await _reports(session, machine_id)
    return [render(row, reports.get(row.id)) for row in rows]


async def _reports(session: AsyncSession, machine_id: str) -> dict[str, ExtensionReport]:
    statement = select(ExtensionReport).join(ExtensionRow, ExtensionRow.id == ExtensionReport.extension_id)
    rows = (await session.execute(statement.where(ExtensionRow.machine_id == machine_id))).scalars()
    return {row.extension_id: row for row in rows}


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        row = await _require(session, call, await require(session, call, MachineRow, MACHINE_TYPE))
        return JSONResponse(await _rendered(session, row), headers={"ETag": etag_of(row)})


async def _list(call: Call) -> Response:
    async with call.context.store.read() as session:
        machine = await require(session, call, MachineRow, MACHINE_TYPE)
        statement = select(ExtensionRow).where(ExtensionRow.machine_id == machine.id)
        reports = await _reports(session, machine.id)
        return await page_of(call, session, statement, ExtensionRow.key, lambda row: render(row, reports.get(row.id)))


async def _put(call: Call) -> Response:
    return await _write(call, await call.body(ExtensionBody), replaces=True)


async def _patch(call: Call) -> Response:
    return await _write(call, await call.body(ExtensionBody), replaces=False)


async def _write(call: Call, body: ExtensionBody, *, replaces: bool) -> Response:
    given = body.properties or ExtensionProperties()
    async with call.context.store.write() as transaction:
        session = transaction.session
        machine = await require(session, call, MachineRow, MACHINE_TYPE)
        row = await _find(session, call, machine)
        check_preconditions(call, row)
        if row is None and not replaces:
            raise _missing(call)
        location = require_location(body.location or machine.location, call.context.configuration, machine.location)
        if row is None:
            row = _create(call, machine, location)
            session.add(row)
        else:
            stamp_change(row, call)
        if replaces or "tags" in body.model_fields_set:
            row.tags = body.tags or {}
        before = row.properties
        row.properties = _merged({} if replaces else row.properties, given)
        if replaces or "protectedSettings" in given.model_fields_set:
            row.protected_sealed = _sealed(call, row, given.protectedSettings)
        if replaces or row.properties != before or "protectedSettings" in given.model_fields_set:
            row.settings_revision = await publish_machine(transaction, machine)
        operation = await record_done(transaction, call, WRITE, row.resource_id, await _rendered(session, row))
    return Response(status_code=202, headers=polling_headers(call, operation, row.location))


async def _rendered(session: AsyncSession, row: ExtensionRow) -> dict[str, Any]:
    return render(row, await session.get(ExtensionReport, row.id))


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        machine = await require(transaction.session, call, MachineRow, MACHINE_TYPE)
        row = await _find(transaction.session, call, machine)
        if row is None:
            return Response(status_code=204)
        check_preconditions(call, row)
        await transaction.session.delete(row)
        await publish_machine(transaction, machine)
        operation = await record_done(transaction, call, DELETE, row.resource_id, None)
    return Response(status_code=202, headers=polling_headers(call, operation, row.location))


async def _find(session: AsyncSession, call: Call, machine: MachineRow) -> ExtensionRow | None:
    key = f"{machine.key}/extensions/{call.parameters['extension'].lower()}"
    return (await session.execute(select(ExtensionRow).where(ExtensionRow.key == key))).scalar_one_or_none()


async def _require(session: AsyncSession, call: Call, machine: MachineRow) -> ExtensionRow:
    row = await _find(session, call, machine)
    if row is None:
        raise _missing(call)
    return row


def _create(call: Call, machine: MachineRow, location: str) -> ExtensionRow:
    name = require_name(call.parameters["extension"], "extension")
    row = ExtensionRow(
        id=str(uuid.uuid4()),
        machine_id=machine.id,
        key=f"{machine.key}/extensions/{name.lower()}",
        group_key=machine.group_key,
        subscription_id=machine.subscription_id,
        tenant_id=machine.tenant_id,
        resource_id=f"{machine.resource_id}/extensions/{name}",
        name=name,
        location=location,
        properties={},
        protected_sealed=None,
    )
    stamp_new(row, call)
    return row


def _merged(kept: dict[str, Any], given: ExtensionProperties) -> dict[str, Any]:
    """Return the properties to keep; raises ApiError 400 for what no extension has."""
    fresh = given.model_dump(exclude_unset=True, exclude={"protectedSettings"})
    merged = {name: value for name, value in {**kept, **fresh}.items() if value is not None}
    for name in ("publisher", "type"):
        if not _IDENTITY.match(merged.get(name, "")):
            raise _invalid(name, "is required, and has letters, digits, '-', '_' and '.' only, '.' not first")
    if "typeHandlerVersion" in merged and not _VERSION.match(merged["typeHandlerVersion"]):
        raise _invalid("typeHandlerVersion", "is not a version such as 1.10")
    if len(json.dumps(merged.get("settings"))) > LARGEST_SETTINGS:
        raise _invalid("settings", f"has more than {LARGEST_SETTINGS} characters")
    return merged


def _sealed(call: Call, row: ExtensionRow, settings: dict[str, Any] | None) -> bytes | None:
    if settings is None:
        return None
    text = json.dumps(settings)
    if len(text) > LARGEST_SETTINGS:
        raise _invalid("protectedSettings", f"has more than {LARGEST_SETTINGS} characters")
    return call.context.sealer.seal(text.encode(), f"extension:{row.id}")


def _invalid(name: str, what: str) -> ApiError:
    target = f"properties.{name}"
    return ApiError(400, "InvalidRequestContent", f"The property {target} {what}.", target=target)


def _missing(call: Call) -> ApiError:
    what = f"{MACHINE_TYPE}/{call.parameters['name']}/extensions/{call.parameters['extension']}"
    text = f"The Resource '{what}' under resource group '{call.parameters['group']}' was not found."
    return ApiError(404, "ResourceNotFound", text)
