"""The revision of the goal that a machine should have by now, for those who look at single machines."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.context import ControlContext
from arcgate.control.his.goals import goal_of
from arcgate.control.store.models import EntryRow
from arcgate.core.snapshot import Entry, Kind

SHARED = (Kind.CLOUD.value, Kind.ENDPOINT_SET.value)


async def wanted_revision(session: AsyncSession, context: ControlContext, machine_id: str) -> int | None:
    """Return the revision of a machine's present goal, None for one that has no entry."""
    machine = await _entry(session, Kind.MACHINE, machine_id)
    if machine is None or machine.body is None:
        return None
    prefix = machine.body["gateway"]
    gateway = await _entry(session, Kind.GATEWAY, prefix) if prefix is not None else None
    statement = select(EntryRow).where(or_(*(EntryRow.kind == kind for kind in SHARED)))
    others = [_read(row) for row in (await session.execute(statement)).scalars()]
    return goal_of(machine, gateway, others, context.catalogue, context.configuration).revision


async def _entry(session: AsyncSession, kind: Kind, key: str) -> Entry | None:
    row = await session.get(EntryRow, (kind.value, key))
    return _read(row) if row is not None else None


def _read(row: EntryRow) -> Entry:
    return Entry(Kind(row.kind), row.key, row.revision, row.body)
