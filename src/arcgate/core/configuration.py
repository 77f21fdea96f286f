"""The server's configuration: every setting of `arcgate.toml` with its default, unit and meaning.

The descriptions below are the reference: `arcgate config list` and docs/reference/configuration.md are made
from them. Reading files and the environment is `arcgate.cli.configuration`'s part; here is only the model.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from arcgate.core.errors import InputError
from arcgate.core.names import parse_host_name, parse_target


def _domain(text: str) -> str:
    try:
        return parse_host_name(text)
    except InputError as error:
        raise ValueError(error.sentence) from None


def _address(text: str) -> str:
    if text == "":
        return text
    try:
        return parse_target(text).authority
    except InputError as error:
        raise ValueError(f"{error.sentence} {error.cause}") from None


DomainName = Annotated[str, AfterValidator(_domain)]
HostPort = Annotated[str, AfterValidator(_address)]
"""HOST:PORT, or empty."""


def _bandwidth(number: int) -> int:
    if 0 < number < LEAST_BANDWIDTH:
        raise ValueError(f"it is 0 for unlimited, or at least {LEAST_BANDWIDTH}")
    return number


LEAST_BANDWIDTH = 16 * 1024
"""Bytes per second below which a machine's tunnels would look idle while they wait for their turn."""
Bandwidth = Annotated[int, Field(ge=0), AfterValidator(_bandwidth)]
"""Bytes per second, 0 for unlimited."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Section(BaseModel):
    """A table of arcgate.toml; keys that we don't know are errors, since a typo would weaken a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CloudSettings(Section):
    """The cloud that clients see."""

    name: str = Field("Arcgate", description="Name of the cloud, as 'azcmagent connect --cloud' takes it.")
    domain: DomainName = Field("arcgate.test", description="Domain below which all names live.")
    public_port: int = Field(443, ge=1, le=65535, description="Port that clients dial; part of the URLs we hand out.")
    regions: tuple[str, ...] = Field(
        ("eastus", "westeurope", "local"), description="Locations that resources can be created in."
    )
    extra_names: tuple[DomainName, ...] = Field(
        (), description="Further names of the control plane, for example localhost for a trial."
    )


class ListenSettings(Section):
    """The front door."""

    addresses: tuple[str, ...] = Field(("0.0.0.0", "::"), description="Addresses to listen on.")  # noqa: S104
    port: int = Field(443, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")


class TlsSettings(Section):
    """The server's certificate. Without one, our own authority issues it."""

    certificate_file: Path | None = Field(None, description="PEM chain for all names, leaf first.")
    key_file: Path | None = Field(None, description="PEM private key of the certificate, readable by us alone.")
    announced_authorities_file: Path | None = Field(
        None, description="PEM certificates of roots that connected machines shall trust as well, before they are used."
    )


class AcmeSettings(Section):
    """A certificate of a public authority, asked for and renewed by ACME (RFC 8555, RFC 8737)."""

    directory: str = Field("", description="https URL of the authority's ACME directory; empty asks for nothing.")
    email: str = Field("", description="Address that the authority may write to; empty names none.")
    terms_agreed: bool = Field(False, description="Whether you agree to the authority's terms of service.")
    ca_file: Path | None = Field(
        None,
        description="PEM certificates to trust for the directory and what it issues, where systems don't know them.",
    )
    most_names: int = Field(100, ge=5, le=1000, description="Names that the authority puts into one certificate.")
    order_interval: Seconds = Field(60, description="Least time between two orders, in seconds.")
    retry_first: Seconds = Field(
        60, description="Pause after a failed order, in seconds; doubled by each further one, longer if told so."
    )
    retry_longest: Seconds = Field(6 * 3600, description="Longest pause of our own after failed orders, in seconds.")
    request_timeout: int = Field(30, ge=1, le=600, description="Time for an answer of the directory, in seconds.")
    validation_timeout: Seconds = Field(
        120, description="Time for the authority to look at all names, and to issue, in seconds."
    )


class DatabaseSettings(Section):
    """Where the control plane keeps its truth."""

    url: str = Field(
        "", description="postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE; empty means SQLite below state_dir."
    )
    connections: int = Field(
        20, ge=1, le=500, description="Most connections of a control-plane node to PostgreSQL, beside one for notices."
    )


class ControlSettings(Section):
    """The control plane."""

    listen: HostPort = Field("127.0.0.1:9443", description="Where the control plane's own TLS listener stands.")
    gateways_per_subscription: int = Field(5, ge=0, description="Quota of gateway resources in a subscription.")
    access_token_lifetime: Seconds = Field(3600, description="Life of access tokens, in seconds.")
    incoming_grant_lifetime: Seconds = Field(
        60, description="Time to use the grant of a connection to a machine, in seconds."
    )
    device_code_lifetime: Seconds = Field(900, description="Time to approve a device code, in seconds.")
    certificate_days: int = Field(90, ge=1, le=825, description="Life of machine certificates, in days.")
    heartbeat_interval: Seconds = Field(300, description="How often agents report, in seconds.")
    disconnected_after: Seconds = Field(900, description="Without heartbeat, Disconnected after this, in seconds.")
    largest_body: int = Field(4 * 1024 * 1024, ge=1024, description="Bytes of a request body that are accepted.")
    reads_per_minute: int = Field(
        30_000, ge=1, description="Reading API requests of one principal in a subscription, in a minute."
    )
    writes_per_minute: int = Field(
        6_000, ge=1, description="Writing API requests of one principal in a subscription, in a minute."
    )
    audit_days: int = Field(90, ge=1, description="Days that audit records are kept.")
    policy_history_days: int = Field(730, ge=1, description="Days that the policy's history is kept, for rollback.")
    catalogue_bundle: Path | None = Field(
        None, description="Signed bundle with a catalogue newer than the shipped one."
    )
    catalogue_keys: tuple[Path, ...] = Field((), description="PEM files of Ed25519 keys that may sign that bundle.")
    packages_folder: Path | None = Field(
        None,
        description="Folder with the agent's packages that 'make packages' made; default is packages below state_dir.",
    )
    package_keys: tuple[Path, ...] = Field(
        (),
        description="PEM files of Ed25519 keys that sign the agent's packages away from here ('arcgate packages sign');"
        " without any, a key of the control plane's own does.",
    )
    extensions_folder: Path | None = Field(
        None, description="Folder with signed packages of extensions; default is extensions below state_dir."
    )
    extension_keys: tuple[Path, ...] = Field(
        (),
        description="PEM files of publishers' Ed25519 keys whose extensions machines install; "
        "default is publisher.pem in that folder.",
    )


class IdentitySettings(Section):
    """An OpenID Connect issuer outside, whose access tokens the API takes: Entra ID, Keycloak or another one."""

    issuer: str = Field("", description="The issuer's URL, exactly as in its tokens; empty means none.")
    audience: str = Field("", description="Audience that tokens must be for.")
    ca_file: Path | None = Field(None, description="PEM file of authorities to trust for the issuer.")
    subject_claim: str = Field("sub", description="Claim that names the principal; Entra ID's is oid.")
    groups_claim: str = Field("groups", description="Claim that lists the principal's groups.")
    owner_groups: tuple[str, ...] = Field((), description="Groups whose members are owners of everything.")
    login_endpoint: str = Field("", description="URL that clients are sent to for signing in; empty means ours.")
    embedded: bool = Field(True, description="Whether our own issuer signs people and service principals in as well.")


class GatewaySettings(Section):
    """The gateway nodes."""

    control_url: str = Field("", description="https URL of the control plane; empty with 'arcgate serve' in one piece.")
    control_address: HostPort = Field(
        "", description="HOST:PORT to dial for all control names in place of their DNS addresses."
    )
    control_ca_file: Path | None = Field(None, description="PEM file of authorities to trust for the control plane.")
    node_secret_file: Path | None = Field(None, description="File with the node secret; default below state_dir.")
    node_name: str = Field("", description="Name of this node in audit records; default is the host name.")
    workers: int = Field(1, ge=1, le=256, description="Processes that share the port.")
    open_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks of yours, not public, that allowed targets may lie in."
    )
    dns_servers: tuple[str, ...] = Field((), description="ADDRESS or ADDRESS:PORT of resolvers; empty asks the system.")
    hosts: dict[str, str] = Field(default_factory=dict, description="Fixed addresses of names, NAME = ADDRESS.")
    handshake_timeout: Seconds = Field(10, description="Time for a TLS handshake, in seconds.")
    head_timeout: Seconds = Field(10, description="Time for a request head, in seconds.")
    dns_timeout: Seconds = Field(5, description="Time for a name to resolve, in seconds.")
    dns_least_ttl: float = Field(
        1, ge=0, le=3600, description="Addresses are kept at least so long, in seconds, whatever their TTL; 0 obeys it."
    )
    dns_most_ttl: Seconds = Field(3600, description="Addresses are kept at most so long, in seconds.")
    dns_negative_ttl: float = Field(
        30, ge=0, le=3600, description="That a name has no address is believed at most so long, in seconds."
    )
    dns_cache_names: int = Field(10_000, ge=0, description="Names that a worker remembers; 0 remembers none.")
    dns_lookups: int = Field(256, ge=1, le=10_000, description="Names that a worker looks up at once; others wait.")
    dial_timeout: Seconds = Field(10, description="Time for a target to accept the connection, in seconds.")
    idle_timeout: Seconds = Field(14_400, description="A tunnel without a byte either way ends after, in seconds.")
    half_closed_timeout: Seconds = Field(300, description="... when one direction has ended already, in seconds.")
    channel_idle_timeout: Seconds = Field(
        120, description="A machine's channel may wait for its next tunnel, in seconds."
    )
    incoming_keep_alive: int = Field(
        30,
        ge=1,
        le=3600,
        description="A machine that waits for incoming connections hears from the gateway every so many seconds.",
    )
    incoming_wait: Seconds = Field(
        10, description="Time for a machine to take an incoming connection, in seconds; twice at most."
    )
    hand_over: Literal["off", "bulk", "idle", "early"] = Field(
        "idle",
        description="Which tunnels of inner TLS 1.3 leave the channel's TLS: none (encrypted twice), those with much "
        "to carry, idle ones too, or all. The strictest of node, gateway resource and machine holds.",
    )
    hand_over_after_bytes: int = Field(
        65_536, ge=1, description="Bytes of a direction that make a tunnel bulk for hand_over."
    )
    hand_over_idle: Seconds = Field(5, description="Without a byte, a tunnel is idle for hand_over after, in seconds.")
    held_end_silence: Seconds = Field(
        1,
        description="Behind an enterprise proxy, the end of a handed-over direction waits until the other one has ended"
        " or brought nothing for so long, in seconds.",
    )
    audit_process: bool = Field(
        False,
        description="Whether the audit takes down which process of a machine opened a tunnel, as the machine says "
        "whose arcproxy.audit.process is on.",
    )
    drain_timeout: Seconds = Field(30, description="Time that tunnels get to end at shutdown, in seconds.")
    largest_head: int = Field(16 * 1024, ge=1024, le=1024 * 1024, description="Bytes of a request head.")
    most_fields: int = Field(100, ge=10, le=10_000, description="Header fields of a request.")
    max_tunnels: int = Field(20_000, ge=1, description="Tunnels open at once in a worker.")
    machine_tunnels: int = Field(5_000, ge=1, description="Tunnels that one machine may have open in all workers.")
    machine_setups_per_second: int = Field(
        5_000,
        ge=1,
        description="Tunnels that one machine may open in a second in all workers; bursts of one second pass.",
    )
    machine_bandwidth: Bandwidth = Field(
        0,
        description="Bytes per second that the tunnels of one machine may carry together in all workers, both ways;"
        " 0 is unlimited.",
    )
    machine_daily_bytes: int = Field(
        0,
        ge=0,
        description="Bytes that one machine may carry in all workers on a day (UTC), both ways; 0 is unlimited.",
    )
    max_handshakes: int = Field(
        2_000, ge=1, description="Strangers' connections that have not asked for anything yet, in a worker."
    )
    max_handshakes_per_address: int = Field(
        1_000,
        ge=1,
        description="... from one source address (of IPv6 its /64), behind which many machines may stand.",
    )


class LogSettings(Section):
    """The server's log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["logfmt", "json"] = Field("logfmt", description="Form of a line.")


class Configuration(Section):
    """All of arcgate.toml."""

    state_dir: Path = Field(Path("/var/lib/arcgate"), description="Folder of everything that is kept.")
    cloud: CloudSettings = CloudSettings()
    listen: ListenSettings = ListenSettings()
    tls: TlsSettings = TlsSettings()
    acme: AcmeSettings = AcmeSettings()
    database: DatabaseSettings = DatabaseSettings()
    control: ControlSettings = ControlSettings()
    identity: IdentitySettings = IdentitySettings()
    gateway: GatewaySettings = GatewaySettings()
    log: LogSettings = LogSettings()

    @property
    def control_names(self) -> tuple[str, ...]:
        """Fixed names of the control plane (those with a region are `*.his.<domain>` beside them)."""
        domain = self.cloud.domain
        fixed = (f"{part}.{domain}" for part in ("management", "login", "gbl.his", "packages", "download"))
        return (*fixed, *self.cloud.extra_names)

    @property
    def gateway_suffix(self) -> str:
        """What follows the prefix in a gateway's name, with its leading dot."""
        return f".gw.{self.cloud.domain}"

    @property
    def ticket_secret_file(self) -> Path:
        """Secret of the session tickets of this host's gateway workers, there while they run."""
        return self.state_dir / "run" / "tickets.key"

    @property
    def workers_folder(self) -> Path:
        """Where this host's gateway workers listen for each other."""
        return self.state_dir / "run"

    @property
    def front_socket(self) -> Path:
        """Where the front door of a server in one piece passes connections on to its control plane."""
        return self.state_dir / "run" / "front.sock"

    @property
    def acme_folder(self) -> Path:
        """What is kept of ACME: the account's key, the record of orders, and the two below."""
        return self.state_dir / "acme"

    @property
    def acme_certificate(self) -> Path:
        """Chain and key that ACME got us, in one file; missing until the first order has succeeded."""
        return self.acme_folder / "certificate.pem"

    @property
    def acme_challenges(self) -> Path:
        """Certificates that prove names to the authority, a file for each name while it looks."""
        return self.acme_folder / "challenges"

    @property
    def acme_orders(self) -> Path:
        """What came of the orders so far."""
        return self.acme_folder / "orders.json"

    @property
    def given_certificate(self) -> tuple[Path, Path] | None:
        """Files of chain and key that our own authority didn't issue; those of ACME come later than we start."""
        if self.tls.certificate_file is not None:
            return self.tls.certificate_file, self.tls.key_file or self.tls.certificate_file
        return (self.acme_certificate, self.acme_certificate) if self.acme.directory else None

    def url_of(self, host: str) -> str:
        """Return the https URL of one of our names, with the port unless it is 443."""
        port = "" if self.cloud.public_port == 443 else f":{self.cloud.public_port}"
        return f"https://{host}{port}"
