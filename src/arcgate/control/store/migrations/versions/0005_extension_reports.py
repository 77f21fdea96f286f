"""Extensions get a revision of their settings, and a place for what machines report of them.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("extensions", sa.Column("settings_revision", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "extension_reports",
        sa.Column("extension_id", sa.String(length=36), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["extension_id"],
            ["extensions.id"],
            name=op.f("fk_extension_reports_extension_id_extensions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("extension_id", name=op.f("pk_extension_reports")),
    )


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
