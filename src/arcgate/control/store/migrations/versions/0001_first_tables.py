"""The first form of the database.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables, and the one row of the revision counter."""
    op.create_table(
        "audit_records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tunnel_id", sa.String(length=100), nullable=False),
        sa.Column("event", sa.String(length=10), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("machine", sa.String(length=500), nullable=False),
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("correlation_id", sa.String(length=100), nullable=False),
        sa.Column("node", sa.String(length=300), nullable=False),
        sa.Column("spool", sa.String(length=300), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_records")),
        sa.UniqueConstraint("tunnel_id", "event", name=op.f("uq_audit_records_tunnel_id")),
    )
    op.create_index(op.f("ix_audit_records_correlation_id"), "audit_records", ["correlation_id"], unique=False)
    op.create_index(op.f("ix_audit_records_is_open"), "audit_records", ["is_open"], unique=False)
    op.create_index(op.f("ix_audit_records_machine_id"), "audit_records", ["machine_id"], unique=False)
    op.create_index("ix_audit_records_newest", "audit_records", ["subscription_id", "time", "id"], unique=False)
    op.create_index(op.f("ix_audit_records_time"), "audit_records", ["time"], unique=False)
    op.create_table(
        "entries",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_entries")),
    )
    op.create_index(op.f("ix_entries_revision"), "entries", ["revision"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("private_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )
    op.create_index(op.f("ix_keys_purpose"), "keys", ["purpose"], unique=False)
    op.create_table(
        "machine_certificates",
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_machine_certificates")),
    )
    op.create_index(op.f("ix_machine_certificates_machine_id"), "machine_certificates", ["machine_id"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("open_tunnels", sa.Integer(), nullable=False),
        sa.Column("listen", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clock_offset", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_nodes")),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("principal_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.String(length=500), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_index(op.f("ix_operations_ended_at"), "operations", ["ended_at"], unique=False)
    op.create_index(op.f("ix_operations_subscription_id"), "operations", ["subscription_id"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("domain", name=op.f("uq_tenants_domain")),
    )
    op.create_table(
        "principals",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("login", sa.String(length=300), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("secret_hash", sa.String(length=300), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_principals_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principals")),
        sa.UniqueConstraint("login", name=op.f("uq_principals_login")),
    )
    op.create_index(op.f("ix_principals_tenant_id"), "principals", ["tenant_id"], unique=False)
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_subscriptions_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
    )
    op.create_index(op.f("ix_subscriptions_tenant_id"), "subscriptions", ["tenant_id"], unique=False)
    op.create_table(
        "device_codes",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("user_code", sa.String(length=20), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=True),
        sa.Column("client_id", sa.String(length=100), nullable=False),
        sa.Column("audience", sa.String(length=300), nullable=False),
        sa.Column("scope", sa.String(length=1000), nullable=False),
        sa.Column("address", sa.String(length=50), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("principal_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["principal_id"],
            ["principals.id"],
            name=op.f("fk_device_codes_principal_id_principals"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_device_codes_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_device_codes")),
        sa.UniqueConstraint("user_code", name=op.f("uq_device_codes_user_code")),
    )
    op.create_index(op.f("ix_device_codes_expires_at"), "device_codes", ["expires_at"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=36), nullable=False),
        sa.Column("principal_id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=100), nullable=False),
        sa.Column("audience", sa.String(length=300), nullable=False),
        sa.Column("scope", sa.String(length=1000), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["principal_id"],
            ["principals.id"],
            name=op.f("fk_refresh_tokens_principal_id_principals"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_refresh_tokens")),
    )
    op.create_index(op.f("ix_refresh_tokens_expires_at"), "refresh_tokens", ["expires_at"], unique=False)
    op.create_index(op.f("ix_refresh_tokens_family"), "refresh_tokens", ["family"], unique=False)
    op.create_index(op.f("ix_refresh_tokens_principal_id"), "refresh_tokens", ["principal_id"], unique=False)
    op.create_table(
        "resource_groups",
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=60), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=300), nullable=False),
        sa.Column("created_by_type", sa.String(length=30), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_by", sa.String(length=300), nullable=False),
        sa.Column("modified_by_type", sa.String(length=30), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_resource_groups_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_resource_groups")),
    )
    op.create_index(op.f("ix_resource_groups_subscription_id"), "resource_groups", ["subscription_id"], unique=False)
    op.create_table(
        "role_assignments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("principal_id", sa.String(length=36), nullable=False),
        sa.Column("role_id", sa.String(length=36), nullable=False),
        sa.Column("scope", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"],
            ["principals.id"],
            name=op.f("fk_role_assignments_principal_id_principals"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_role_assignments_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_assignments")),
        sa.UniqueConstraint("principal_id", "role_id", "scope", name=op.f("uq_role_assignments_principal_id")),
    )
    op.create_index(op.f("ix_role_assignments_principal_id"), "role_assignments", ["principal_id"], unique=False)
    op.create_index(op.f("ix_role_assignments_tenant_id"), "role_assignments", ["tenant_id"], unique=False)
    op.create_table(
        "endpoint_sets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("endpoints", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("allow_private", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("group_key", sa.String(length=250), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.String(length=500), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=60), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=300), nullable=False),
        sa.Column("created_by_type", sa.String(length=30), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_by", sa.String(length=300), nullable=False),
        sa.Column("modified_by_type", sa.String(length=30), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_key"], ["resource_groups.key"], name=op.f("fk_endpoint_sets_group_key_resource_groups")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_endpoint_sets_subscription_id_subscriptions")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_endpoint_sets_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint_sets")),
        sa.UniqueConstraint("key", name=op.f("uq_endpoint_sets_key")),
    )
    op.create_index(op.f("ix_endpoint_sets_group_key"), "endpoint_sets", ["group_key"], unique=False)
    op.create_index(op.f("ix_endpoint_sets_subscription_id"), "endpoint_sets", ["subscription_id"], unique=False)
    op.create_index(op.f("ix_endpoint_sets_tenant_id"), "endpoint_sets", ["tenant_id"], unique=False)
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("prefix", sa.String(length=63), nullable=False),
        sa.Column("gateway_type", sa.String(length=20), nullable=False),
        sa.Column("allowed_features", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("bypass", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("group_key", sa.String(length=250), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.String(length=500), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=60), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=300), nullable=False),
        sa.Column("created_by_type", sa.String(length=30), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_by", sa.String(length=300), nullable=False),
        sa.Column("modified_by_type", sa.String(length=30), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_key"], ["resource_groups.key"], name=op.f("fk_gateways_group_key_resource_groups")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_gateways_subscription_id_subscriptions")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_gateways_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("key", name=op.f("uq_gateways_key")),
        sa.UniqueConstraint("prefix", name=op.f("uq_gateways_prefix")),
    )
    op.create_index(op.f("ix_gateways_group_key"), "gateways", ["group_key"], unique=False)
    op.create_index(op.f("ix_gateways_subscription_id"), "gateways", ["subscription_id"], unique=False)
    op.create_index(op.f("ix_gateways_tenant_id"), "gateways", ["tenant_id"], unique=False)
    op.create_table(
        "machines",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("principal_id", sa.String(length=36), nullable=False),
        sa.Column("client_public_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=True),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("group_key", sa.String(length=250), nullable=False),
        sa.Column("subscription_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("resource_id", sa.String(length=500), nullable=False),
        sa.Column("name", sa.String(length=90), nullable=False),
        sa.Column("location", sa.String(length=60), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_by", sa.String(length=300), nullable=False),
        sa.Column("created_by_type", sa.String(length=30), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_by", sa.String(length=300), nullable=False),
        sa.Column("modified_by_type", sa.String(length=30), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_key"], ["resource_groups.key"], name=op.f("fk_machines_group_key_resource_groups")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_machines_subscription_id_subscriptions")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_machines_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
        sa.UniqueConstraint("key", name=op.f("uq_machines_key")),
        sa.UniqueConstraint("principal_id", name=op.f("uq_machines_principal_id")),
    )
    op.create_index(op.f("ix_machines_group_key"), "machines", ["group_key"], unique=False)
    op.create_index(op.f("ix_machines_subscription_id"), "machines", ["subscription_id"], unique=False)
    op.create_index(op.f("ix_machines_tenant_id"), "machines", ["tenant_id"], unique=False)
    op.create_table(
        "heartbeats",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name=op.f("fk_heartbeats_machine_id_machines"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_heartbeats")),
    )
    op.create_index(op.f("ix_heartbeats_time"), "heartbeats", ["time"], unique=False)
    op.create_table(
        "settings",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("gateway_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_settings_gateway_id_gateways")),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name=op.f("fk_settings_machine_id_machines"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_settings")),
    )
    op.create_index(op.f("ix_settings_gateway_id"), "settings", ["gateway_id"], unique=False)
    op.execute("INSERT INTO revisions (id, value) VALUES (1, 0)")


def downgrade() -> None:
    """Refuse: the way back is a backup."""
    raise NotImplementedError
