"""Gateways that take signed channels; those of before take none.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, false for all gateways."""
    op.add_column("gateways", sa.Column("signed_channels", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
