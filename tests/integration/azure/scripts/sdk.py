"""What programs do with the official SDKs: each function is one story that test_sdk.py runs."""

import os
import sys
import uuid
from typing import Any

import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import CertificateCredential, ClientSecretCredential, DeviceCodeCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.hybridcompute import HybridComputeManagementClient
from azure.mgmt.hybridcompute import models as hybrid
from azure.mgmt.resource import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient

BASE = os.environ["ARCGATE_BASE"]
TENANT = os.environ["ARCGATE_TENANT"]
SUBSCRIPTION = os.environ["ARCGATE_SUBSCRIPTION"]
CLIENT_ID = os.environ.get("ARCGATE_CLIENT_ID", "")
SECRET = os.environ.get("ARCGATE_CLIENT_SECRET", "")
GROUP = os.environ.get("ARCGATE_GROUP", "")
SCOPES = [f"{BASE}//.default"]
A = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.HybridCompute"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


def secret_credential(authority: str = BASE, tenant: str = TENANT, **options: Any) -> Any:
    return ClientSecretCredential(tenant, CLIENT_ID, SECRET, authority=authority, **options)


def client(kind: Any = HybridComputeManagementClient, *arguments: Any, credential: Any = None, **options: Any) -> Any:
    credential = credential or secret_credential(disable_instance_discovery=True)
    return kind(credential, *(arguments or (SUBSCRIPTION,)), base_url=BASE, credential_scopes=SCOPES, **options)


def gateway_body() -> Any:
    return hybrid.Gateway(location="eastus", gateway_type="Public", allowed_features=["*"])


def machine_body(**more: Any) -> Any:
    return hybrid.Machine(location="eastus", vm_id=str(uuid.uuid4()), os_type="linux", **more)


def gateways() -> None:
    with client() as arc:
        poller = arc.gateways.begin_create_or_update(GROUP, "sdk", gateway_body())
        headers = poller.polling_method()._initial_response.http_response.headers
        assert "/operationstatus/" in headers["Azure-AsyncOperation"], headers
        assert "/operationresults/" in headers["Location"], headers
        made = poller.result()
        assert poller.status() == "Succeeded"
        assert made.provisioning_state == "Succeeded"
        assert made.gateway_endpoint.endswith(".gw.arcgate.test")
        assert made.system_data.created_by == CLIENT_ID
        assert arc.gateways.get(GROUP, "SDK").gateway_id == made.gateway_id
        again = arc.gateways.begin_create_or_update(GROUP, "sdk", made).result()
        assert again.gateway_id == made.gateway_id
        patched = arc.gateways.update(GROUP, "sdk", hybrid.GatewayUpdate(tags={"a": "b"}, allowed_features=["Monitor"]))
        assert (patched.tags, patched.allowed_features) == ({"a": "b"}, ["Monitor"])
        assert [one.name for one in arc.gateways.list_by_resource_group(GROUP)] == ["sdk"]
        assert "sdk" in [one.name for one in arc.gateways.list_by_subscription()]
        arc.gateways.begin_delete(GROUP, "sdk").result()
        arc.gateways.begin_delete(GROUP, "sdk").result()
        refused(ResourceNotFoundError, "ResourceNotFound", lambda: arc.gateways.get(GROUP, "sdk"))
        wrong = hybrid.Gateway(location="eastus", allowed_features=["NoSuchFeature"])
        refused(
            HttpResponseError, "InvalidAllowedFeatures", lambda: arc.gateways.begin_create_or_update(GROUP, "x", wrong)
        )


def bypass() -> None:
    with client() as arc:
        body = {"location": "eastus", "properties": {"gatewayBypass": ["login.example.com"]}}
        made = arc.gateways.begin_create_or_update(GROUP, "bypassing", body).result()
        assert made.properties["gatewayBypass"] == ["login.example.com"]
        update: dict[str, Any] = {"properties": {"gatewayBypass": []}}
        assert arc.gateways.update(GROUP, "bypassing", update).properties["gatewayBypass"] == []
        wrong = {"properties": {"gatewayBypass": ["*.example.com"]}}
        refused(HttpResponseError, "InvalidGatewayBypass", lambda: arc.gateways.update(GROUP, "bypassing", wrong))
        arc.gateways.begin_delete(GROUP, "bypassing").result()


def settings() -> None:
    named = (GROUP, "Microsoft.HybridCompute", "machines", "server", "default")
    with client() as arc:
        arc.machines.create_or_update(GROUP, "server", machine_body())
        gateway = arc.gateways.begin_create_or_update(GROUP, "linked", gateway_body()).result()
        assert linked(arc.settings.get(*named)) is None
        wanted = hybrid.SettingsGatewayProperties(gateway_resource_id=gateway.id)
        link = hybrid.Settings(properties=hybrid.SettingsProperties(gateway_properties=wanted))
        assert linked(arc.settings.update(*named, link)) == gateway.id
        assert arc.settings.get(*named).properties.tenant_id == TENANT
        refused(HttpResponseError, "GatewayInUse", lambda: arc.gateways.begin_delete(GROUP, "linked").result())
        nothing = {"properties": {"gatewayProperties": {"gatewayResourceId": None}}}
        assert linked(arc.settings.patch(*named, nothing)) is None
        assert linked(arc.settings.patch(*named, link)) == gateway.id
        assert linked(arc.settings.update(*named, hybrid.Settings())) is None
        arc.gateways.begin_delete(GROUP, "linked").result()
        arc.machines.begin_delete(GROUP, "server").result()


def linked(found: Any) -> Any:
    return found.properties.gateway_properties.gateway_resource_id


def machines() -> None:
    with client() as arc:
        body = machine_body(tags={"a": "b"})
        made = arc.machines.create_or_update(GROUP, "server", body)
        assert made.status == "AwaitingConnection"
        assert made.identity.type == "SystemAssigned"
        assert made.identity.tenant_id == TENANT
        shown = arc.machines.get(GROUP, "server", expand="instanceView")
        assert shown.vm_id == body.vm_id
        assert not shown.resources
        updated = arc.machines.update(GROUP, "server", hybrid.MachineUpdate(tags={"c": "d"}))
        assert (updated.tags, updated.vm_id) == ({"c": "d"}, body.vm_id)
        assert arc.machines.create_or_update(GROUP, "server", updated).vm_id == body.vm_id
        assert [one.name for one in arc.machines.list_by_resource_group(GROUP)] == ["server"]
        assert "server" in [one.name for one in arc.machines.list_by_subscription()]
        arc.machines.begin_delete(GROUP, "server").result()
        arc.machines.begin_delete(GROUP, "server").result()
        refused(ResourceNotFoundError, "ResourceNotFound", lambda: arc.machines.get(GROUP, "server"))


def machine_extensions() -> None:
    properties = hybrid.MachineExtensionProperties(
        publisher="Microsoft.Azure.Monitor",
        type="AzureMonitorLinuxAgent",
        type_handler_version="1.10",
        settings={"proxy": {"mode": "application"}},
        protected_settings={"key": "a secret"},
    )
    with client() as arc:
        arc.machines.create_or_update(GROUP, "extended", machine_body())
        body = hybrid.MachineExtension(location="eastus", properties=properties)
        poller = arc.machine_extensions.begin_create_or_update(GROUP, "extended", "AMA", body)
        made = poller.result()
        assert made.properties.provisioning_state == "Succeeded"
        assert made.properties.protected_settings is None
        assert made.properties.instance_view.name == "AMA"
        changed = hybrid.MachineExtensionUpdate(properties={"enableAutomaticUpgrade": True})
        patched = arc.machine_extensions.begin_update(GROUP, "extended", "AMA", changed).result()
        assert patched.properties.enable_automatic_upgrade is True
        assert patched.properties.settings == {"proxy": {"mode": "application"}}
        assert arc.machine_extensions.get(GROUP, "extended", "AMA").properties.type == "AzureMonitorLinuxAgent"
        assert [one.name for one in arc.machine_extensions.list(GROUP, "extended")] == ["AMA"]
        machine = arc.machines.get(GROUP, "extended", expand="instanceView")
        assert [one.name for one in machine.resources] == ["AMA"]
        arc.machine_extensions.begin_delete(GROUP, "extended", "AMA").result()
        assert list(arc.machine_extensions.list(GROUP, "extended")) == []
        arc.machines.begin_delete(GROUP, "extended").result()


def operations() -> None:
    with client() as arc:
        names = {one.name for one in arc.operations.list()}
    assert {f"Microsoft.HybridCompute/gateways/{verb}" for verb in ("read", "write", "delete")} <= names
    assert "Microsoft.HybridCompute/machines/extensions/write" in names


def resources() -> None:
    name = f"sdk-{uuid.uuid4().hex[:8]}"
    with client(ResourceManagementClient) as arm:
        made = arm.resource_groups.create_or_update(name, {"location": "westeurope", "tags": {"a": "b"}})
        assert made.properties.provisioning_state == "Succeeded"
        assert arm.resource_groups.check_existence(name) is True
        assert arm.resource_groups.get(name).tags == {"a": "b"}
        assert name in [one.name for one in arm.resource_groups.list(filter="tagName eq 'a' and tagValue eq 'b'")]
        version = "2026-07-15"
        place = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}/providers/Microsoft.HybridCompute/gateways/gw"
        arm.resources.begin_create_or_update_by_id(place, version, {"location": "eastus", "properties": {}}).result()
        assert [one.name for one in arm.resources.list_by_resource_group(name)] == ["gw"]
        found = arm.resources.list(filter="resourceType eq 'Microsoft.HybridCompute/gateways'")
        assert place.lower() in [one.id.lower() for one in found]
        assert arm.resources.get_by_id(place, version).name == "gw"
        assert arm.resources.check_existence_by_id(place, version) is True
        assert arm.resources.check_existence_by_id(f"{place}-2", version) is False
        assert arm.providers.get("Microsoft.HybridCompute").registration_state == "Registered"
        assert arm.providers.register("Microsoft.HybridCompute").registration_state == "Registered"
        arm.resource_groups.begin_delete(name).result()
        assert arm.resource_groups.check_existence(name) is False
    with subscription_client() as subscriptions:
        assert [one.tenant_id for one in subscriptions.tenants.list()] == [TENANT]
        assert SUBSCRIPTION in [one.subscription_id for one in subscriptions.subscriptions.list()]
        assert "eastus" in [one.name for one in subscriptions.subscriptions.list_locations(SUBSCRIPTION)]


def subscription_client() -> Any:
    return SubscriptionClient(
        secret_credential(disable_instance_discovery=True), base_url=BASE, credential_scopes=SCOPES
    )


def roles() -> None:
    principal = os.environ["ARCGATE_PRINCIPAL"]
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    with client(AuthorizationManagementClient) as authorization:
        [reader] = authorization.role_definitions.list(scope, filter="roleName eq 'Reader'")
        assert reader.name == READER
        assert reader.permissions[0].actions == ["*/read"]
        name = str(uuid.uuid4())
        body = {"properties": {"roleDefinitionId": reader.id, "principalId": principal}}
        made = authorization.role_assignments.create(scope, name, body)
        assert made.principal_id == principal
        assert authorization.role_assignments.get(scope, name).role_definition_id.endswith(READER)
        listed = authorization.role_assignments.list_for_scope(scope, filter=f"principalId eq '{principal}'")
        assert name in [one.name for one in listed]
        refused(
            HttpResponseError, "RoleAssignmentExists", lambda: authorization.role_assignments.create(scope, name, body)
        )
        authorization.role_assignments.delete(scope, name)
        refused(ResourceNotFoundError, "RoleAssignment", lambda: authorization.role_assignments.get(scope, name))


def pages() -> None:
    with client() as arc:
        seen = [one.name for one in arc.machines.list_by_resource_group(GROUP)]
    assert len(seen) == len(set(seen)) == int(os.environ["ARCGATE_COUNT"]), len(seen)


def secrets() -> None:
    wrong = ClientSecretCredential(TENANT, CLIENT_ID, "wrong", authority=BASE, disable_instance_discovery=True)
    refused(ClientAuthenticationError, "AADSTS7000215", lambda: wrong.get_token(*SCOPES))
    accepted(secret_credential(disable_instance_discovery=True))
    accepted(secret_credential(tenant="adfs"))
    # An SDK client without credential_scopes asks for the public cloud's audience.
    token = secret_credential(disable_instance_discovery=True).get_token("https://management.azure.com/.default")
    assert ask(token.token).status_code == 200


def certificates() -> None:
    file, client_id = os.environ["ARCGATE_CERTIFICATE"], os.environ["ARCGATE_CLIENT_ID"]
    plain = {"certificate_path": file, "authority": BASE, "disable_instance_discovery": True}
    accepted(CertificateCredential(TENANT, client_id, **plain))
    accepted(CertificateCredential(TENANT, client_id, send_certificate_chain=True, **plain))
    accepted(CertificateCredential("adfs", client_id, certificate_path=file, authority=BASE))


def device_code() -> None:
    def tell(_url: str, code: str, _expires: object) -> None:
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()

    options: dict[str, Any] = {"authority": BASE, "disable_instance_discovery": True}
    if os.environ.get("ARCGATE_ADFS"):
        options = {"authority": BASE, "tenant_id": "adfs"}
    credential = DeviceCodeCredential(prompt_callback=tell, timeout=30, **{"tenant_id": TENANT, **options})
    accepted(credential)
    with client(credential=credential) as arc:
        assert list(arc.gateways.list_by_resource_group(GROUP)) == []


def environment() -> None:
    from azure.identity import EnvironmentCredential

    accepted(EnvironmentCredential(disable_instance_discovery=True))


def accepted(credential: Any) -> None:
    """Require that the credential gets a token which the API takes."""
    assert ask(credential.get_token(*SCOPES).token).status_code == 200


def ask(token: str) -> requests.Response:
    url = f"{BASE}/subscriptions/{SUBSCRIPTION}?api-version=2022-12-01"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=20)


def refused(kind: type[Exception], code: str, action: Any) -> None:
    """Require that the action fails with that exception, and that its words hold the code."""
    words = ""
    try:
        action()
    except kind as error:
        words = str(error)
    assert code in words, f"not refused with {code}: {words}"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
