"""Gateways with a say in hand-over; those of before have none.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty for all gateways."""
    op.add_column("gateways", sa.Column("hand_over", sa.String(10), nullable=False, server_default=""))


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
