"""The machine resource as the agent writes and reads it. Pure."""

from typing import Any

from arcgate import __version__
from arcgate.agent.connect_request import ConnectRequest
from arcgate.agent.errors import AzcmError
from arcgate.agent.machine_key import MachineKey
from arcgate.agent.platform import MachineFacts
from arcgate.core.resource_ids import ResourceId


def machine_document(request: ConnectRequest, facts: MachineFacts, vm_id: str, key: MachineKey) -> dict[str, Any]:
    """Return the document that creates the resource; facts that aren't known are left out."""
    properties = {
        "vmId": vm_id,
        "clientPublicKey": key.client_public_key,
        "osType": facts.os_type,
        "osName": facts.os_name,
        "osVersion": facts.os_version,
        "machineFqdn": facts.fqdn,
        "vmUuid": facts.vm_uuid,
        "agentVersion": __version__,
        "privateLinkScopeResourceId": request.private_link_scope,
        "detectedProperties": {"manufacturer": facts.manufacturer, "model": facts.model},
    }
    return {
        "location": request.location,
        "identity": {"type": "SystemAssigned"},
        "tags": {**request.tags},
        "properties": {name: value for name, value in properties.items() if value},
    }


def own_vm_id(existing: dict[str, Any], resource: ResourceId, key: MachineKey) -> str:
    """Return the vmId of a resource that a killed run of ours left; raises AzcmError 44 on another's."""
    properties = _properties(existing)
    if properties.get("clientPublicKey") == key.client_public_key and isinstance(properties.get("vmId"), str):
        return str(properties["vmId"]).lower()
    raise AzcmError(
        44,
        f"The resource {resource} exists already, and belongs to another machine or an earlier installation.",
        remedy="Give another --resource-name, or delete that resource if it isn't needed any more, and retry.",
    )


def has_vm_id(document: dict[str, Any], vm_id: str) -> bool:
    """Say whether a resource is of the machine with this vmId."""
    return str(_properties(document).get("vmId", "")).lower() == vm_id


def _properties(document: dict[str, Any]) -> dict[str, Any]:
    properties = document.get("properties")
    return properties if isinstance(properties, dict) else {}
