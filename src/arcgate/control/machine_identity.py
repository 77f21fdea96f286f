"""The principal that a machine acts as: made, disabled and removed with the machine's resource."""

import uuid
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.store.models import MachineRow, Principal

KIND = "MachineIdentity"
"""Such principals have no secret: nobody signs in as one, the agent service alone gives them tokens."""
LONGEST_NAME = 200


def principal_of(machine: MachineRow, now: datetime) -> Principal:
    """Return a new principal for the machine's system-assigned identity."""
    return Principal(
        id=machine.principal_id,
        tenant_id=machine.tenant_id,
        kind=KIND,
        login=str(uuid.uuid4()),
        display_name=machine.name[:LONGEST_NAME],
        secret_hash="",
        certificate="",
        is_enabled=True,
        created_at=now,
    )


async def disable(session: AsyncSession, machine: MachineRow) -> None:
    """Make the tokens that the machine has worthless; a machine that is connected anew has a new principal."""
    await session.execute(update(Principal).where(Principal.id == machine.principal_id).values(is_enabled=False))


async def remove(session: AsyncSession, machine: MachineRow) -> None:
    """Remove the principal with all its role assignments."""
    await session.execute(delete(Principal).where(Principal.id == machine.principal_id))
