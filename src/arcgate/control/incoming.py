"""Connections to machines: grants that are good once, for a minute, and the connections that were made by them.

A grant is for one machine, port and principal. Whoever has it must still have a role that permits the connection when
it is used, and for as long as the connection lasts.
"""

import hashlib
from datetime import datetime

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.roles import Assignment, find_role, permits_data
from arcgate.control.store import Transaction
from arcgate.control.store.models import AuditRow, IncomingConnection, MachineRow, Principal, RoleAssignment
from arcgate.core.audit import Event
from arcgate.core.incoming import LOGIN_ACTION
from arcgate.core.verdicts import EndReason

ACCESS = "access"
"""Topic: somebody has lost a role, or a connection is to be cut."""

_IS_OVER = (Event.END.value, Event.REFUSAL.value)
"""Events after which there is no connection: one that the machine did not take was refused, and never began."""
_HAS_ENDED = (
    select(AuditRow.id)
    .where(AuditRow.event.in_(_IS_OVER), AuditRow.tunnel_id == IncomingConnection.tunnel_id)
    .correlate(IncomingConnection)
    .exists()
)


def hash_of(grant: str) -> str:
    """Return what a grant is found by."""
    return hashlib.sha256(grant.encode()).hexdigest()


async def keep_grant(transaction: Transaction, row: IncomingConnection, now: datetime) -> None:
    """Keep a new grant, and forget those that are of no use any more."""
    has_lapsed = and_(IncomingConnection.tunnel_id.is_(None), IncomingConnection.expires_at < now)
    statement = delete(IncomingConnection).where(or_(has_lapsed, _HAS_ENDED))
    await transaction.session.execute(statement.execution_options(synchronize_session=False))
    transaction.session.add(row)


async def use_grant(
    transaction: Transaction, grant: str, machine_id: str, port: int, tunnel_id: str, now: datetime
) -> IncomingConnection | None:
    """Use a grant up for a connection; None when there is no such grant (any more)."""
    statement = (
        update(IncomingConnection)
        .where(
            IncomingConnection.grant_hash == hash_of(grant),
            IncomingConnection.machine_id == machine_id,
            IncomingConnection.port == port,
            IncomingConnection.tunnel_id.is_(None),
            IncomingConnection.expires_at > now,
        )
        .values(tunnel_id=tunnel_id)
        .returning(IncomingConnection)
        .execution_options(synchronize_session=False)
    )
    row = (await transaction.session.execute(statement)).scalar_one_or_none()
    return row if row is not None and await why_not(transaction.session, row) is None else None


async def why_not(session: AsyncSession, row: IncomingConnection | None) -> EndReason | None:
    """Return why a connection must not go on, None while it may."""
    machine = await session.get(MachineRow, row.machine_id) if row is not None else None
    if row is None or machine is None:
        return EndReason.ACCESS_REVOKED
    if row.is_cut:
        return EndReason.CUT_BY_OPERATOR
    assigned = select(RoleAssignment).join(Principal, Principal.id == RoleAssignment.principal_id)
    conditions = (RoleAssignment.principal_id.in_(row.holders), Principal.is_enabled.is_(True))
    found = (await session.execute(assigned.where(*conditions))).scalars()
    assignments = [Assignment(role, one.scope) for one in found if (role := find_role(one.role_id)) is not None]
    return None if permits_data(assignments, LOGIN_ACTION, machine.key) else EndReason.ACCESS_REVOKED


async def connection_of(session: AsyncSession, tunnel_id: str) -> IncomingConnection | None:
    """Return the connection of a tunnel."""
    statement = select(IncomingConnection).where(IncomingConnection.tunnel_id == tunnel_id)
    return (await session.execute(statement)).scalar_one_or_none()


async def cut_connections(transaction: Transaction, machine_id: str, tunnel_id: str) -> int:
    """Cut a machine's connections, or only that of a tunnel; return how many there were."""
    conditions = [
        IncomingConnection.machine_id == machine_id,
        IncomingConnection.tunnel_id.is_not(None),
        IncomingConnection.is_cut.is_(False),
        ~_HAS_ENDED,
    ]
    if tunnel_id:
        conditions.append(IncomingConnection.tunnel_id == tunnel_id)
    statement = update(IncomingConnection).where(*conditions).values(is_cut=True)
    result = await transaction.session.execute(statement.execution_options(synchronize_session=False))
    transaction.announce(ACCESS)
    return int(getattr(result, "rowcount", 0))
