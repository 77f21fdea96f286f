"""The agent's status as `azcmagent show` prints it: fields, labels and JSON keys in the original's order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from arcgate import __version__
from arcgate.agent.local_settings import LocalSettings
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import MACHINE_NOT_FOUND, AgentIdentity, HimdsState
from arcgate.core.clock_skew import NOTICEABLE_SKEW, describe_skew
from arcgate.core.routing import Goal, Routing
from arcgate.core.urls import redact

DISCONNECTED_AFTER = 15 * 60
"""Seconds since the last heartbeat after which the agent counts as disconnected."""
LABEL_WIDTH = 40

SERVICE_LABELS = {
    "himds": "Agent Service (himds)",
    "arcproxy": "Azure Arc Proxy (arcproxy)",
    "extensionservice": "Extension Service (extensionservice)",
    "gcarcservice": "GC Service (gcarcservice)",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the status is made from."""

    now: datetime
    machine: MachineFacts
    settings: LocalSettings
    identity: AgentIdentity | None = None
    goal: Goal = field(default_factory=Goal)
    himds: HimdsState = field(default_factory=HimdsState)
    certificate_end: datetime | None = None
    services: Mapping[str, str] = field(default_factory=dict)
    """States by name: himds, arcproxy, extensionservice, gcarcservice."""
    logfile: str = ""
    problems: tuple[str, ...] = ()
    """One sentence for each file that can't be read, and for each user that an enterprise proxy refuses."""
    arcproxy_port: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One line; fields with an `indent` belong to the heading above them."""

    key: str
    label: str
    value: Any
    indent: bool = False


def agent_status(facts: Facts) -> str:
    """Return Connected, Disconnected or Expired."""
    if facts.identity is None:
        return "Disconnected"
    if facts.certificate_end is not None and facts.now >= facts.certificate_end:
        return "Expired"
    if facts.himds.error_code == MACHINE_NOT_FOUND:
        return "Disconnected"
    last = parse_time(facts.himds.last_heartbeat)
    is_recent = last is not None and (facts.now - last).total_seconds() < DISCONNECTED_AFTER
    return "Connected" if is_recent else "Disconnected"


def used_proxy(facts: Facts) -> str:
    """Return the URL of the proxy that the agent uses: Arc Proxy's, or the enterprise proxy's."""
    uses_gateway = Routing(facts.goal, facts.settings.connection_type).uses_gateway
    if uses_gateway and facts.services.get("arcproxy") == "running":
        return f"http://localhost:{facts.arcproxy_port or facts.settings.arcproxy_port}"
    return facts.settings.proxy_url.origin if facts.settings.proxy_url and not uses_gateway else ""


def fields_of(facts: Facts, *, with_os: bool = False) -> list[Field]:
    """Return all fields in order; pure."""
    fields = [*_identity_fields(facts), *_status_fields(facts), *_path_fields(facts), *_machine_fields(facts)]
    fields.append(Field("", "Dependent Service Status", ""))
    fields += [
        Field(f"serviceStatus.{name}", label, facts.services.get(name, "not installed"), indent=True)
        for name, label in SERVICE_LABELS.items()
    ]
    fields += [Field("portalPage", "Portal Page", ""), Field("disabledFeatures", "Disabled Features", "")]
    if with_os:
        fields += [
            Field("osType", "OS Type", facts.machine.os_type),
            Field("osName", "OS Name", facts.machine.os_name),
            Field("osVersion", "OS Version", facts.machine.os_version),
            Field("machineFqdn", "Machine FQDN", facts.machine.fqdn),
        ]
    return fields


def _identity_fields(facts: Facts) -> list[Field]:
    one = facts.identity
    scope = one.private_link_scope if one else ""
    return [
        Field("resourceName", "Resource Name", one.resource_name if one else ""),
        Field("resourceGroup", "Resource Group Name", one.resource_group if one else ""),
        Field("resourceNamespace", "Resource Namespace", "Microsoft.HybridCompute" if one else ""),
        Field("resourceId", "Resource Id", one.resource_id if one else ""),
        Field("subscriptionId", "Subscription ID", one.subscription_id if one else ""),
        Field("tenantId", "Tenant ID", one.tenant_id if one else ""),
        Field("vmId", "VM ID", one.vm_id if one else ""),
        Field("correlationId", "Correlation ID", one.correlation_id if one else ""),
        Field("vmUuid", "VM UUID", facts.machine.vm_uuid),
        Field("location", "Location", one.location if one else ""),
        Field("cloud", "Cloud", one.cloud if one else ""),
        Field("identityKeyStore", "Identity Key Store", "default" if one else ""),
        *([Field("privateLinkScope", "Private Link Scope", scope)] if scope else []),
    ]


def _status_fields(facts: Facts) -> list[Field]:
    himds = facts.himds
    skew = describe_skew(himds.server_time_offset) if abs(himds.server_time_offset) > NOTICEABLE_SKEW else ""
    details = " ".join(part for part in (himds.error_details, *facts.problems, skew) if part)
    return [
        Field("agentVersion", "Agent Version", __version__),
        Field("agentLogfile", "Agent Logfile", facts.logfile),
        Field("status", "Agent Status", agent_status(facts)),
        Field("lastHeartbeat", "Agent Last Heartbeat", himds.last_heartbeat),
        Field("errorCode", "Agent Error Code", himds.error_code),
        Field("errorDetails", "Agent Error Details", redact(details)),
        Field("errorTimestamp", "Agent Error Timestamp", himds.error_timestamp),
    ]


def _path_fields(facts: Facts) -> list[Field]:
    settings = facts.settings
    return [
        Field("httpsProxy", "Using HTTPS Proxy", used_proxy(facts)),
        Field("proxyBypassList", "Proxy Bypass List", list(settings.proxy_bypass_values)),
        Field("upstreamProxy", "Upstream Proxy", settings.proxy_url.origin if settings.proxy_url else ""),
        Field("gatewayUrl", "Gateway URL", facts.goal.gateway_url),
        Field("connectionType", "Connection Type", str(settings.connection_type)),
        Field("metadataEndpoint", "Metadata Endpoint", _metadata_endpoint(facts)),
    ]


def _metadata_endpoint(facts: Facts) -> str:
    return facts.himds.metadata_endpoint if facts.services.get("himds") == "running" else ""


def _machine_fields(facts: Facts) -> list[Field]:
    return [
        Field("cloudProvider", "Cloud Provider", "N/A"),
        Field("cloudMetadata", "Cloud Metadata", ""),
        Field("manufacturer", "Manufacturer", facts.machine.manufacturer),
        Field("model", "Model", facts.machine.model),
        Field("mssqlDetected", "MSSQL Server Detected", "false"),
        Field("mysqlDetected", "MySQL Server Detected", "false"),
        Field("pgsqlDetected", "PGSQL Server Detected", "false"),
    ]


def as_lines(fields: Iterable[Field]) -> list[str]:
    """Return the fields as lines: label padded, a colon, value."""
    return [_line(one) for one in fields]


def as_document(fields: Iterable[Field]) -> dict[str, Any]:
    """Return the fields as a JSON document; the services' states are an object of their own."""
    document: dict[str, Any] = {}
    for one in fields:
        group, separator, name = one.key.partition(".")
        if separator:
            document.setdefault(group, {})[name] = one.value
        elif one.key:
            document[one.key] = one.value
    return document


def select(fields: Iterable[Field], name: str) -> list[Field]:
    """Return the fields of that label or JSON key (any case); none when there is no such field."""
    wanted = name.strip().lower()
    return [
        one
        for one in fields
        if one.key and wanted in {one.key.lower(), one.label.lower(), one.key.partition(".")[0].lower()}
    ]


def parse_time(text: str) -> datetime | None:
    """Return a time of the agent's files."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _line(one: Field) -> str:
    value = ",".join(one.value) if isinstance(one.value, list) else str(one.value)
    label = f"  {one.label}" if one.indent else one.label
    return f"{label:<{LABEL_WIDTH}} : {value}".rstrip() if one.key else one.label
