"""Nodes without the column for their clocks, which nothing ever filled.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the column."""
    op.drop_column("nodes", "clock_offset")


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
