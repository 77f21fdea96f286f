"""What the metadata endpoint tells programs of this machine and its cloud; pure."""

from typing import Any

from arcgate.agent.cloud import Cloud
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import AgentIdentity


def instance_document(identity: AgentIdentity, facts: MachineFacts) -> dict[str, Any]:
    """Return /metadata/instance."""
    return {
        "compute": {
            "azEnvironment": identity.cloud,
            "location": identity.location,
            "name": identity.resource_name,
            "osType": facts.os_type,
            "provider": "Microsoft.HybridCompute",
            "resourceGroupName": identity.resource_group,
            "resourceId": identity.resource_id,
            "subscriptionId": identity.subscription_id,
            "tags": "",
            "tagsList": [],
            "tenantId": identity.tenant_id,
            "vmId": identity.vm_id,
        },
        "network": {"interface": []},
    }


def endpoints_document(cloud: Cloud, identity: AgentIdentity) -> dict[str, Any]:
    """Return /metadata/endpoints: where this machine's cloud is."""
    return {
        "name": cloud.name,
        "resourceManager": cloud.resource_manager,
        "authentication": {
            "loginEndpoint": cloud.login,
            "audiences": [f"{cloud.resource_manager}/"],
            "tenant": identity.tenant_id,
        },
        "dataplaneEndpoints": {"hybridIdentityServiceEndpoint": identity.his_endpoint or cloud.his},
        "suffixes": {},
    }
