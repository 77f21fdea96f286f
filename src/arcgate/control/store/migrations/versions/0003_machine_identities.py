"""Principals of machines: they were only numbers before.

Revision ID: 0003
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MACHINES = sa.table(
    "machines",
    sa.column("id", sa.String),
    sa.column("principal_id", sa.String),
    sa.column("tenant_id", sa.String),
    sa.column("name", sa.String),
    sa.column("created_at", sa.DateTime(timezone=True)),
)
_CERTIFICATES = sa.table(
    "machine_certificates", sa.column("machine_id", sa.String), sa.column("revoked_at", sa.DateTime(timezone=True))
)
_PRINCIPALS = sa.table(
    "principals",
    sa.column("id", sa.String),
    sa.column("tenant_id", sa.String),
    sa.column("kind", sa.String),
    sa.column("login", sa.String),
    sa.column("display_name", sa.String),
    sa.column("secret_hash", sa.String),
    sa.column("certificate", sa.Text),
    sa.column("is_enabled", sa.Boolean),
    sa.column("created_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    """Give each machine its principal, a disabled one where the machine's certificate was revoked."""
    was_revoked = sa.exists().where(
        _CERTIFICATES.c.machine_id == _MACHINES.c.id, _CERTIFICATES.c.revoked_at >= _MACHINES.c.created_at
    )
    machines = op.get_bind().execute(sa.select(_MACHINES, was_revoked.label("was_revoked"))).all()
    op.bulk_insert(
        _PRINCIPALS,
        [
            {
                "id": machine.principal_id,
                "tenant_id": machine.tenant_id,
                "kind": "MachineIdentity",
                "login": str(uuid.uuid4()),
                "display_name": machine.name,
                "secret_hash": "",
                "certificate": "",
                "is_enabled": not machine.was_revoked,
                "created_at": machine.created_at,
            }
            for machine in machines
        ],
    )


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
