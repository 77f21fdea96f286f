"""Grants of connections to machines, and the connections made by them.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "incoming_connections",
        sa.Column("grant_hash", sa.String(64), nullable=False),
        sa.Column("machine_id", sa.String(36), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("requester", sa.String(300), nullable=False),
        sa.Column("holders", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tunnel_id", sa.String(100), nullable=True),
        sa.Column("is_cut", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"],
            ["machines.id"],
            name=op.f("fk_incoming_connections_machine_id_machines"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("grant_hash", name=op.f("pk_incoming_connections")),
        sa.UniqueConstraint("tunnel_id", name=op.f("uq_incoming_connections_tunnel_id")),
    )
    for column in ("machine_id", "expires_at"):
        op.create_index(op.f(f"ix_incoming_connections_{column}"), "incoming_connections", [column], unique=False)


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
