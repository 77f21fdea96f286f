"""Tables of the control plane, in types that SQLite and PostgreSQL share.

Names of resources keep the case that people gave them; `key` columns hold the lower-case resource id, which
is what rows are found by. Times are UTC and aware. Private keys and secrets are sealed or hashed, never plain.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite keeps no zone, so the zone is put back when reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time as the database takes it; raises ValueError for a time without zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Document = JSON(none_as_null=True)
Guid = String(36)
AutoNumber = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime, dict[str, Any]: Document, list[str]: Document}


class Tenant(Base):
    """A tenant: nothing of it is visible from another one."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    display_name: Mapped[str] = mapped_column(String(200))
    domain: Mapped[str] = mapped_column(String(253), unique=True)
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it is the tenant of the first start, which clients that name none are told of."""


class Subscription(Base):
    """A subscription of a tenant."""

    __tablename__ = "subscriptions"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    display_name: Mapped[str] = mapped_column(String(200))


class Stamps:
    """Who made and last changed a resource (ARM's systemData), and its version (ETag)."""

    created_by: Mapped[str] = mapped_column(String(300))
    created_by_type: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime]
    modified_by: Mapped[str] = mapped_column(String(300))
    modified_by_type: Mapped[str] = mapped_column(String(30))
    modified_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(BigInteger, default=1)


class ResourceGroup(Stamps, Base):
    """A resource group; `key` is `/subscriptions/…/resourcegroups/…` in lower case."""

    __tablename__ = "resource_groups"
    key: Mapped[str] = mapped_column(String(250), primary_key=True)
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id"), index=True)
    name: Mapped[str] = mapped_column(String(90))
    location: Mapped[str] = mapped_column(String(60))
    tags: Mapped[dict[str, Any] | None]


class Resource(Stamps):
    """Columns of every resource in a resource group."""

    key: Mapped[str] = mapped_column(String(500), unique=True)
    group_key: Mapped[str] = mapped_column(ForeignKey("resource_groups.key"), index=True)
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id"), index=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    resource_id: Mapped[str] = mapped_column(String(500))
    """The id as ARM prints it."""
    name: Mapped[str] = mapped_column(String(90))
    location: Mapped[str] = mapped_column(String(60))
    tags: Mapped[dict[str, Any] | None]


class GatewayRow(Resource, Base):
    """A gateway; `id` is its gatewayId, `prefix` the first label of its endpoint."""

    __tablename__ = "gateways"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    prefix: Mapped[str] = mapped_column(String(63), unique=True)
    gateway_type: Mapped[str] = mapped_column(String(20))
    allowed_features: Mapped[list[str]]
    bypass: Mapped[list[str]]
    policy: Mapped[dict[str, Any] | None] = mapped_column(Document)
    """Settings beside the features (arcgate.core.policy_settings); None: none are set."""
    hand_over: Mapped[str] = mapped_column(String(10), default="", server_default="")
    """The gateway's say in hand-over, a `HandOverMode`; empty: it has none."""
    signed_channels: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether machines may sign their requests where TLS is opened on the path."""


class MachineGroupRow(Resource, Base):
    """Machines with certain tags, and what they may of what their gateway allows."""

    __tablename__ = "machine_groups"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    match_tags: Mapped[dict[str, Any]]
    allowed_features: Mapped[list[str] | None] = mapped_column(Document)
    mode: Mapped[str] = mapped_column(String(10))
    audited_features: Mapped[list[str]]
    limits: Mapped[dict[str, Any]]
    description: Mapped[str] = mapped_column(Text)


class PolicyRevisionRow(Base):
    """One change of one part of the policy: what its snapshot entry held before and after."""

    __tablename__ = "policy_revisions"
    __table_args__ = (
        UniqueConstraint("revision", "kind", "entry_key"),
        Index("ix_policy_revisions_subscription", "subscription_id", "revision"),
    )
    id: Mapped[int] = mapped_column(AutoNumber, primary_key=True, autoincrement=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    subscription_id: Mapped[str] = mapped_column(Guid)
    kind: Mapped[str] = mapped_column(String(20))
    entry_key: Mapped[str] = mapped_column(String(500))
    resource_id: Mapped[str] = mapped_column(String(500))
    before: Mapped[dict[str, Any] | None] = mapped_column(Document)
    after: Mapped[dict[str, Any] | None] = mapped_column(Document)
    changed_by: Mapped[str] = mapped_column(String(300))
    time: Mapped[datetime] = mapped_column(index=True)


class MachineRow(Resource, Base):
    """A machine; `id` is its vmId. `properties` holds what clients wrote beside the columns."""

    __tablename__ = "machines"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    principal_id: Mapped[str] = mapped_column(Guid, unique=True)
    client_public_key: Mapped[str] = mapped_column(Text)
    """As the client sent it: base64 of the DER SubjectPublicKeyInfo or PKCS #1 key, or PEM; may be empty."""
    kind: Mapped[str | None] = mapped_column(String(30))
    properties: Mapped[dict[str, Any]]


class ExtensionRow(Resource, Base):
    """An extension of a machine; `properties` holds all that clients wrote but the protected settings."""

    __tablename__ = "extensions"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    machine_id: Mapped[str] = mapped_column(ForeignKey("machines.id", ondelete="CASCADE"), index=True)
    properties: Mapped[dict[str, Any]]
    protected_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """JSON of protectedSettings, sealed with purpose `extension:<id>`."""
    settings_revision: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Revision of the last change that the machine has to carry out."""


class ExtensionReport(Base):
    """What the machine last reported of an extension (arcgate.core.extension_goals)."""

    __tablename__ = "extension_reports"
    extension_id: Mapped[str] = mapped_column(ForeignKey("extensions.id", ondelete="CASCADE"), primary_key=True)
    time: Mapped[datetime]
    body: Mapped[dict[str, Any]]


class SettingRow(Base):
    """The association of a machine; no row, or no gateway, means none."""

    __tablename__ = "settings"
    machine_id: Mapped[str] = mapped_column(ForeignKey("machines.id", ondelete="CASCADE"), primary_key=True)
    gateway_id: Mapped[str | None] = mapped_column(ForeignKey("gateways.id"), index=True)


class EndpointSetRow(Resource, Base):
    """A tenant's own targets."""

    __tablename__ = "endpoint_sets"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    endpoints: Mapped[list[str]]
    allow_private: Mapped[bool] = mapped_column(Boolean)
    description: Mapped[str] = mapped_column(Text)


class Principal(Base):
    """A user (`login` is the user name) or service principal (`login` is the client id), in lower case."""

    __tablename__ = "principals"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    """User or ServicePrincipal; ExternalUser or ExternalGroup for those of an issuer outside."""
    login: Mapped[str] = mapped_column(String(300), unique=True)
    display_name: Mapped[str] = mapped_column(String(200))
    secret_hash: Mapped[str] = mapped_column(String(300))
    """argon2id of the password or client secret; empty when there is none."""
    certificate: Mapped[str] = mapped_column(Text, default="")
    """PEM of the certificate that signs client assertions; empty when there is none."""
    is_enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[datetime]


class RoleAssignment(Base):
    """A role of a principal at a scope and everything below it; `scope` is in lower case."""

    __tablename__ = "role_assignments"
    __table_args__ = (UniqueConstraint("principal_id", "role_id", "scope"),)
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    principal_id: Mapped[str] = mapped_column(ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    role_id: Mapped[str] = mapped_column(Guid)
    scope: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime]


class DeviceCode(Base):
    """A sign-in on another device, found by the SHA-256 of its device code or by its user code."""

    __tablename__ = "device_codes"
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_code: Mapped[str] = mapped_column(String(20), unique=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id"))
    """None: of whichever tenant the person is that confirms."""
    client_id: Mapped[str] = mapped_column(String(100))
    audience: Mapped[str] = mapped_column(String(300))
    scope: Mapped[str] = mapped_column(String(1000))
    address: Mapped[str] = mapped_column(String(50))
    """Address of the client that asked."""
    state: Mapped[str] = mapped_column(String(10))
    """pending, approved, denied or used."""
    principal_id: Mapped[str | None] = mapped_column(ForeignKey("principals.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    polled_at: Mapped[datetime | None]


class RefreshToken(Base):
    """A refresh token by its SHA-256. A second use of one token revokes its whole family (RFC 9700 4.14.2)."""

    __tablename__ = "refresh_tokens"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    family: Mapped[str] = mapped_column(Guid, index=True)
    principal_id: Mapped[str] = mapped_column(ForeignKey("principals.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[str] = mapped_column(String(100))
    audience: Mapped[str] = mapped_column(String(300))
    scope: Mapped[str] = mapped_column(String(1000))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class KeyRow(Base):
    """A key pair of ours; `purpose` says of what (token-signing, machine-authority, server-authority …)."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(40), index=True)
    private_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """PKCS #8 PEM, sealed with purpose `key:<id>`."""
    public: Mapped[str] = mapped_column(Text)
    """PEM of the public key."""
    certificate: Mapped[str] = mapped_column(Text, default="")
    """PEM of the certificate, for authorities."""
    created_at: Mapped[datetime]
    not_after: Mapped[datetime | None]
    """Not used to sign after this; still used to verify."""


class Operation(Base):
    """A long-running operation of ARM."""

    __tablename__ = "operations"
    id: Mapped[str] = mapped_column(Guid, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Guid)
    subscription_id: Mapped[str] = mapped_column(Guid, index=True)
    principal_id: Mapped[str] = mapped_column(Guid)
    resource_id: Mapped[str] = mapped_column(String(500))
    action: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(20))
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None] = mapped_column(index=True)


class EntryRow(Base):
    """A snapshot entry (arcgate.core.snapshot), written with the change that it tells of."""

    __tablename__ = "entries"
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    key: Mapped[str] = mapped_column(String(500), primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, index=True)
    body: Mapped[dict[str, Any] | None]


class Revision(Base):
    """The one counter of revisions, in the row with id 1."""

    __tablename__ = "revisions"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    value: Mapped[int] = mapped_column(BigInteger)


class MachineCertificate(Base):
    """A certificate that our authority issued; kept after its machine is gone, so that revocation lasts."""

    __tablename__ = "machine_certificates"
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Lower-case hexadecimal without leading zeros."""
    machine_id: Mapped[str] = mapped_column(Guid, index=True)
    issued_at: Mapped[datetime]
    not_after: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class AuditRow(Base):
    """An audit record; `body` is the whole of it, the columns are what one can search by."""

    __tablename__ = "audit_records"
    __table_args__ = (
        UniqueConstraint("tunnel_id", "event"),
        Index("ix_audit_records_newest", "subscription_id", "time", "id"),
    )
    id: Mapped[int] = mapped_column(AutoNumber, primary_key=True, autoincrement=True)
    tunnel_id: Mapped[str] = mapped_column(String(100))
    event: Mapped[str] = mapped_column(String(10))
    time: Mapped[datetime] = mapped_column(index=True)
    tenant_id: Mapped[str] = mapped_column(String(36))
    subscription_id: Mapped[str] = mapped_column(String(36))
    machine_id: Mapped[str] = mapped_column(String(36), index=True)
    machine: Mapped[str] = mapped_column(String(500))
    """Resource id in lower case."""
    target: Mapped[str] = mapped_column(String(300))
    verdict: Mapped[str] = mapped_column(String(20))
    correlation_id: Mapped[str] = mapped_column(String(100), index=True)
    node: Mapped[str] = mapped_column(String(300))
    spool: Mapped[str] = mapped_column(String(300), default="")
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    is_open: Mapped[bool] = mapped_column(Boolean, default=False, index=True)
    """True for a start record whose end has not come."""
    body: Mapped[dict[str, Any]]


class IncomingConnection(Base):
    """A grant for one connection to a machine, by its SHA-256; once used, the connection itself."""

    __tablename__ = "incoming_connections"
    grant_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    machine_id: Mapped[str] = mapped_column(ForeignKey("machines.id", ondelete="CASCADE"), index=True)
    port: Mapped[int] = mapped_column(Integer)
    requester: Mapped[str] = mapped_column(String(300))
    """Name and principal id, for people."""
    holders: Mapped[list[str]]
    """Principals whose roles count for it."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    tunnel_id: Mapped[str | None] = mapped_column(String(100), unique=True)
    """Set by the first use, and there is no second one."""
    is_cut: Mapped[bool] = mapped_column(Boolean, default=False)


class Heartbeat(Base):
    """The last report of a machine; apart from the machine, since it changes every few minutes."""

    __tablename__ = "heartbeats"
    machine_id: Mapped[str] = mapped_column(ForeignKey("machines.id", ondelete="CASCADE"), primary_key=True)
    time: Mapped[datetime] = mapped_column(index=True)
    body: Mapped[dict[str, Any]]


class Node(Base):
    """A gateway node, as it last reported."""

    __tablename__ = "nodes"
    name: Mapped[str] = mapped_column(String(253), primary_key=True)
    version: Mapped[str] = mapped_column(String(50))
    revision: Mapped[int] = mapped_column(BigInteger)
    open_tunnels: Mapped[int] = mapped_column(Integer)
    listen: Mapped[list[str]]
    time: Mapped[datetime]
