"""Policy settings of gateways, machine groups, and the history of what the policy was.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column, empty for all gateways, and the two tables."""
    op.add_column("gateways", sa.Column("policy", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "machine_groups",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("match_tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("allowed_features", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("audited_features", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("limits", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("key", sa.String(500), nullable=False),
        sa.Column("group_key", sa.String(250), nullable=False),
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(36), nullable=False),
        sa.Column("resource_id", sa.String(500), nullable=False),
        sa.Column("name", sa.String(90), nullable=False),
        sa.Column("location", sa.String(60), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(300), nullable=False),
        sa.Column("created_by_type", sa.String(30), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("modified_by", sa.String(300), nullable=False),
        sa.Column("modified_by_type", sa.String(30), nullable=False),
        sa.Column("modified_at", _TIME, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_key"], ["resource_groups.key"], name=op.f("fk_machine_groups_group_key_resource_groups")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_machine_groups_subscription_id_subscriptions")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_machine_groups_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machine_groups")),
        sa.UniqueConstraint("key", name=op.f("uq_machine_groups_key")),
    )
    for column in ("group_key", "subscription_id", "tenant_id"):
        op.create_index(op.f(f"ix_machine_groups_{column}"), "machine_groups", [column], unique=False)
    op.create_table(
        "policy_revisions",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("subscription_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("entry_key", sa.String(500), nullable=False),
        sa.Column("resource_id", sa.String(500), nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("changed_by", sa.String(300), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_revisions")),
        sa.UniqueConstraint("revision", "kind", "entry_key", name=op.f("uq_policy_revisions_revision")),
    )
    op.create_index(op.f("ix_policy_revisions_time"), "policy_revisions", ["time"], unique=False)
    op.create_index(
        "ix_policy_revisions_subscription", "policy_revisions", ["subscription_id", "revision"], unique=False
    )


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
