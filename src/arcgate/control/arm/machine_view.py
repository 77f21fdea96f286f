"""How ARM shows a machine: what clients wrote, what the agent last reported, and the status that follows. Pure."""

from datetime import datetime, timedelta
from typing import Any

from arcgate.control.arm.stamps import system_data
from arcgate.control.store.models import Heartbeat, MachineRow
from arcgate.core.clock_skew import NOTICEABLE_SKEW, describe_skew
from arcgate.core.configuration import ControlSettings
from arcgate.core.instances import CLONED, Instances, describe_conflict
from arcgate.core.resource_ids import MACHINE_TYPE

WRITABLE = frozenset(
    {
        "osType",
        "locationData",
        "parentClusterResourceId",
        "privateLinkScopeResourceId",
        "mssqlDiscovered",
        "identityKeyStore",
        "tpmEkCertificate",
        "osProfile",
        "cloudMetadata",
        "agentUpgrade",
    }
)
"""Properties that clients set; a PUT replaces them."""

FACTS = frozenset(
    {
        "agentVersion",
        "displayName",
        "machineFqdn",
        "dnsFqdn",
        "adFqdn",
        "domainName",
        "osName",
        "osVersion",
        "osSku",
        "osEdition",
        "vmUuid",
        "detectedProperties",
        "agentConfiguration",
        "serviceStatuses",
        "hardwareProfile",
        "storageProfile",
        "firmwareProfile",
        "networkProfile",
    }
)
"""Properties that the machine reports; a PUT without them leaves them, a heartbeat overrides them."""

_REPORTED = ("agentVersion", "osName", "osVersion", "osType", "machineFqdn")


def status_of(
    created: datetime, last_heartbeat: datetime | None, settings: ControlSettings, now: datetime
) -> tuple[str, datetime]:
    """Return a machine's status and since when it has it."""
    if last_heartbeat is None:
        return "AwaitingConnection", created
    if now - last_heartbeat <= timedelta(seconds=settings.disconnected_after):
        return "Connected", last_heartbeat
    # By then its certificate has run out as well, and it must be connected anew.
    if now - last_heartbeat > timedelta(days=settings.certificate_days):
        return "Expired", last_heartbeat + timedelta(days=settings.certificate_days)
    return "Disconnected", last_heartbeat + timedelta(seconds=settings.disconnected_after)


def render_machine(
    row: MachineRow,
    heartbeat: Heartbeat | None,
    settings: ControlSettings,
    now: datetime,
    wanted_revision: int | None = None,
) -> dict[str, Any]:
    """Return a machine as ARM shows it; the revision of its goal is looked up for single machines alone."""
    document = {
        "id": row.resource_id,
        "name": row.name,
        "type": MACHINE_TYPE,
        "location": row.location,
        "tags": row.tags or {},
        "identity": {"type": "SystemAssigned", "principalId": row.principal_id, "tenantId": row.tenant_id},
        "systemData": system_data(row),
        "properties": _properties(row, heartbeat, settings, now, wanted_revision),
    }
    return {**document, "kind": row.kind} if row.kind else document


def _errors(instances: Instances, report: dict[str, Any]) -> list[dict[str, str]]:
    errors = []
    if instances.is_conflict:
        errors.append({"code": CLONED, "message": describe_conflict(instances)})
    if abs(offset := report.get("clockOffset", 0)) > NOTICEABLE_SKEW:
        errors.append({"code": "ClockSkew", "message": describe_skew(offset)})
    return errors


def _reconciliation(report: dict[str, Any], wanted_revision: int | None) -> dict[str, Any]:
    """Return which revision of its goal is in force on the machine and since when, and which one should be."""
    applied = report.get("appliedRevision", report.get("goalRevision", 0))
    shown = {"appliedRevision": applied, "appliedSince": report.get("appliedSince")}
    if wanted_revision is None:
        return shown
    return {**shown, "wantedRevision": wanted_revision, "isCurrent": applied == wanted_revision}


def _properties(
    row: MachineRow,
    heartbeat: Heartbeat | None,
    settings: ControlSettings,
    now: datetime,
    wanted_revision: int | None,
) -> dict[str, Any]:
    report = heartbeat.body if heartbeat is not None else {}
    status, since = status_of(row.created_at, heartbeat.time if heartbeat else None, settings, now)
    reported = {key: report[key] for key in _REPORTED if report.get(key)}
    instances = Instances.from_json(report.get("instances"))
    properties = {
        "displayName": row.name,
        **row.properties,
        **reported,
        "vmId": row.id,
        "provisioningState": "Succeeded",
        "status": status,
        "lastStatusChange": since.isoformat(),
        "errorDetails": _errors(instances, report),
    }
    if instances.is_conflict:
        properties["statusReason"] = "Cloned"
    if heartbeat is not None:
        properties["reconciliation"] = _reconciliation(report, wanted_revision)
    if row.client_public_key:
        properties["clientPublicKey"] = row.client_public_key
    return properties
