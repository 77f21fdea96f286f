"""What programs learn of their machine and cloud."""

from arcgate.agent.cloud import Cloud
from arcgate.agent.himds.metadata_documents import endpoints_document, instance_document
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import AgentIdentity
from arcgate.core.names import HostName

IDENTITY = AgentIdentity(
    "subscription", "servers", "box", "/subscriptions/subscription/box", "tenant", "eastus", "vm", "Arcgate"
)
CLOUD = Cloud(
    "Arcgate",
    HostName("a.test"),
    "https://management.a.test",
    "https://login.a.test",
    "https://gbl.his.a.test",
    "https://packages.a.test",
)


def test_the_instance_is_told_in_the_names_that_programs_know() -> None:
    compute = instance_document(IDENTITY, MachineFacts("linux", "Debian", "12", "box.corp"))["compute"]
    wanted = {
        "azEnvironment": "Arcgate",
        "location": "eastus",
        "name": "box",
        "osType": "linux",
        "resourceGroupName": "servers",
        "resourceId": "/subscriptions/subscription/box",
        "subscriptionId": "subscription",
        "tenantId": "tenant",
        "vmId": "vm",
    }
    assert {name: compute[name] for name in wanted} == wanted


def test_the_endpoints_are_those_of_the_machines_cloud() -> None:
    document = endpoints_document(CLOUD, IDENTITY)
    assert document["resourceManager"] == "https://management.a.test"
    assert document["authentication"]["loginEndpoint"] == "https://login.a.test"
    assert document["authentication"]["audiences"] == ["https://management.a.test/"]
    assert document["dataplaneEndpoints"] == {"hybridIdentityServiceEndpoint": "https://gbl.his.a.test"}
