"""Extensions between ARM and the machine: what is wanted, its settings, and what the machine reports of it."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.authority.requests import read_public_key
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.his.issuing import require_not_revoked
from arcgate.control.store import Store
from arcgate.control.store.models import ExtensionReport, ExtensionRow, MachineRow
from arcgate.core.audit import printable
from arcgate.core.extension_goals import ExtensionGoal, ExtensionStatus, is_extension_name
from arcgate.wire.sealed_settings import seal

LARGEST_STATUS = 128 * 1024
"""Bytes of a reported status."""


async def wanted_extensions(session: AsyncSession, machine_id: str) -> tuple[ExtensionGoal, ...]:
    """Return the extensions of a machine as its goal holds them."""
    statement = select(ExtensionRow).where(ExtensionRow.machine_id == machine_id).order_by(ExtensionRow.key)
    goals = [_goal(row) for row in (await session.execute(statement)).scalars()]
    # One that no machine could read, kept from before such were refused, must not spoil the whole goal.
    return tuple(goal for goal in goals if goal.is_readable)


async def settings_of(context: ControlContext, machine: MachineRow, name: str) -> dict[str, Any]:
    """Return an extension's settings, the protected ones sealed for the machine; raises ApiError 403 or 404."""
    async with context.store.read() as session:
        await require_not_revoked(session, machine)
        row = await _require(session, machine, name)
    return {
        "name": row.name,
        "settingsRevision": row.settings_revision,
        "settings": row.properties.get("settings") or {},
        "protectedSettings": _sealed(context, machine, row),
    }


async def keep_status(store: Store, machine: MachineRow, name: str, document: dict[str, Any], now: datetime) -> None:
    """Keep what the machine says of an extension; raises ApiError 400, or 404 when it isn't wanted any more."""
    try:
        status = ExtensionStatus.from_json({**document, "name": name})
    except (KeyError, TypeError, ValueError) as error:
        text = f"The status can't be read: {printable(str(error), 100)}."
        raise ApiError(400, "InvalidRequestContent", text) from None
    try:
        async with store.write() as transaction:
            row = await _require(transaction.session, machine, name)
            report = ExtensionReport(extension_id=row.id, time=now, body=_printable(status))
            await transaction.session.merge(report)
    except IntegrityError:  # deleted since the request began
        raise _missing() from None


def _printable(status: ExtensionStatus) -> dict[str, Any]:
    document = status.to_json()
    texts = {key: printable(value, 2 * len(value) + 100) for key, value in document["status"].items()}
    return {**document, "status": texts}


async def _require(session: AsyncSession, machine: MachineRow, name: str) -> ExtensionRow:
    if not is_extension_name(name):
        raise _missing()
    statement = select(ExtensionRow).where(ExtensionRow.key == f"{machine.key}/extensions/{name.lower()}")
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None:
        raise _missing()
    return row


def _goal(row: ExtensionRow) -> ExtensionGoal:
    kept = row.properties
    return ExtensionGoal(
        row.name,
        kept["publisher"],
        kept["type"],
        kept.get("typeHandlerVersion", ""),
        row.settings_revision,
        kept.get("autoUpgradeMinorVersion", True),
        kept.get("enableAutomaticUpgrade", False),
        kept.get("forceUpdateTag", ""),
    )


def _sealed(context: ControlContext, machine: MachineRow, row: ExtensionRow) -> str | None:
    if row.protected_sealed is None:
        return None
    settings = json.loads(context.sealer.open(row.protected_sealed, f"extension:{row.id}"))
    return seal(read_public_key(machine.client_public_key), machine.id, row.name, row.settings_revision, settings)


def _missing() -> ApiError:
    return ApiError(404, "ExtensionNotFound", "The machine shall not have such an extension.")
