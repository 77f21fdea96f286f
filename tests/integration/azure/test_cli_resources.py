"""`az` works with our resources as with the public cloud's: its own commands, `az resource` and `az rest`."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from arcgate.control.arm.versions import HYBRID_COMPUTE
from worlds.azure_clients import AzureCli

GATEWAY = "Microsoft.HybridCompute/gateways"
MACHINE = "Microsoft.HybridCompute/machines"
SETTINGS = "providers/Microsoft.HybridCompute/settings/default"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"

# What the recorded clients send that no list of published versions has, and one that nobody published.
OTHER_VERSIONS = ("2024-07-01-preview", "2031-02-03")


@pytest.fixture
def group(admin: AzureCli) -> str:
    return admin.cloud.group()


def rest(az: AzureCli, method: str, path: str, body: Any = None, version: str = "2026-07-15") -> Any:
    """Send a request with `az rest`; a path without slash lies below the subscription."""
    place = path if path.startswith("/") else f"{az.cloud.subscription}/{path}"
    more = ("--body", json.dumps(body)) if body is not None else ()
    return az("rest", "--method", method, "--url", f"{place}?api-version={version}", *more)


def _gateway(az: AzureCli, group: str, name: str = "gw") -> dict[str, Any]:
    place = f"resourceGroups/{group}/providers/{GATEWAY}/{name}"
    body = {"location": "eastus", "properties": {"allowedFeatures": ["*"], "gatewayType": "Public"}}
    reply = az.cloud.arm("PUT", place, body)
    assert reply.status == 201, reply.body
    made: dict[str, Any] = reply.json()
    return made


def _machine(az: AzureCli, group: str, name: str = "server-1") -> dict[str, Any]:
    body = {"location": "eastus", "properties": {"vmId": str(uuid.uuid4()), "osType": "linux"}}
    reply = az.cloud.arm("PUT", f"resourceGroups/{group}/providers/{MACHINE}/{name}", body)
    assert reply.status == 200, reply.body
    made: dict[str, Any] = reply.json()
    return made


def test_groups_come_and_go(admin: AzureCli) -> None:
    name = f"az-{uuid.uuid4().hex[:8]}"
    made = admin("group", "create", "-n", name, "-l", "East US", "--tags", "a=b")
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert (made["location"], made["tags"]) == ("eastus", {"a": "b"})
    assert admin("group", "show", "-n", name.upper())["name"] == name
    assert name in [one["name"] for one in admin("group", "list", "--tag", "a=b")]
    assert name not in [one["name"] for one in admin("group", "list", "--tag", "a=c")]
    assert admin("group", "exists", "-n", name) is True
    assert admin("group", "update", "-n", name, "--set", "tags.c=d")["tags"] == {"a": "b", "c": "d"}
    admin("group", "delete", "-n", name, "--yes")
    assert admin("group", "exists", "-n", name) is False
    assert "ResourceGroupNotFound" in admin.refused("group", "show", "-n", name, status=3)


def test_providers_and_locations_are_known(admin: AzureCli) -> None:
    admin("provider", "register", "-n", "Microsoft.HybridCompute", "--wait")
    shown = admin("provider", "show", "-n", "Microsoft.HybridCompute")
    assert shown["registrationState"] == "Registered"
    assert {"gateways", "machines", "machines/extensions", "settings"} <= {
        one["resourceType"] for one in shown["resourceTypes"]
    }
    assert "Arcgate.Network" in [one["namespace"] for one in admin("provider", "list")]
    assert "eastus" in [one["name"] for one in admin("account", "list-locations")]
    assert "InvalidResourceNamespace" in admin.refused("provider", "show", "-n", "No.Such", status=3)


def test_a_gateway_lives_its_life_by_generic_commands(admin: AzureCli, group: str) -> None:
    named = ("-g", group, "-n", "gw", "--resource-type", GATEWAY)
    properties = json.dumps({"allowedFeatures": ["*"], "gatewayType": "Public"})
    made = admin("resource", "create", *named, "--location", "eastus", "--properties", properties)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert made["properties"]["gatewayEndpoint"].endswith(".gw.arcgate.test")
    assert admin("resource", "show", *named)["id"] == made["id"]
    assert admin("resource", "show", "--ids", made["id"])["name"] == "gw"
    listed = admin("resource", "list", "--resource-type", GATEWAY, "--query", f"[?resourceGroup=='{group}'].name")
    assert listed == ["gw"]
    tagged = admin("resource", "tag", "--ids", made["id"], "--tags", "who=me")
    assert tagged["tags"] == {"who": "me"}
    assert admin("resource", "list", "--tag", "who=me", "--query", "[].name") == ["gw"]
    assert admin("resource", "list", "--tag", "who=you") == []
    updated = admin("resource", "update", "--ids", made["id"], "--set", "properties.allowedFeatures=['Monitor']")
    assert updated["properties"]["allowedFeatures"] == ["Monitor"]
    assert updated["properties"]["gatewayEndpoint"] == made["properties"]["gatewayEndpoint"]
    admin("resource", "delete", "--ids", made["id"])
    missing = admin.refused("resource", "show", *named, status=3)
    assert "ResourceNotFound" in missing


def test_a_machine_lives_its_life_by_generic_commands(admin: AzureCli, group: str) -> None:
    named = ("-g", group, "-n", "server", "--resource-type", MACHINE)
    properties = json.dumps({"vmId": str(uuid.uuid4()), "osType": "linux"})
    made = admin("resource", "create", *named, "--location", "eastus", "--properties", properties)
    assert made["identity"]["type"] == "SystemAssigned"
    assert made["properties"]["status"] == "AwaitingConnection"
    shown = admin("resource", "show", *named)
    assert shown["properties"]["vmId"] == made["properties"]["vmId"]
    updated = admin("resource", "update", "--ids", made["id"], "--set", "tags.a=b")
    assert updated["tags"] == {"a": "b"}
    assert updated["properties"]["vmId"] == made["properties"]["vmId"]
    admin("resource", "delete", "--ids", made["id"])
    assert admin("resource", "list", "-g", group) == []


def test_the_seven_verbs_of_a_gateway_by_rest(admin: AzureCli, group: str) -> None:
    place = f"resourceGroups/{group}/providers/{GATEWAY}/gw"
    body = {"location": "eastus", "properties": {"allowedFeatures": ["*"], "gatewayType": "public"}}
    made = rest(admin, "put", place, body, "2024-07-10")
    assert made["properties"]["gatewayType"] == "Public"
    assert rest(admin, "get", place)["properties"]["gatewayId"] == made["properties"]["gatewayId"]
    patched = rest(admin, "patch", place, {"tags": {"a": "b"}, "properties": {"gatewayBypass": ["login.example.com"]}})
    assert patched["properties"]["gatewayBypass"] == ["login.example.com"]
    assert patched["properties"]["allowedFeatures"] == ["*"]
    assert [one["name"] for one in rest(admin, "get", place.rpartition("/")[0])["value"]] == ["gw"]
    assert rest(admin, "delete", place) is None
    assert "ResourceNotFound" in admin.refused(
        "rest", "--method", "get", "--url", f"{admin.cloud.subscription}/{place}?api-version=2026-07-15"
    )


@pytest.mark.parametrize("detached", [None, "", "left out"])
def test_settings_associate_and_detach(admin: AzureCli, group: str, detached: str | None) -> None:
    gateway, machine = _gateway(admin, group), _machine(admin, group)
    place = f"{machine['id']}/{SETTINGS}"
    assert rest(admin, "get", place)["properties"]["gatewayProperties"] == {}
    link = {"gatewayProperties": {"gatewayResourceId": gateway["id"]}}
    assert (
        rest(admin, "put", place, {"properties": link})["properties"]["gatewayProperties"] == link["gatewayProperties"]
    )
    found = rest(admin, "get", place)
    assert (found["name"], found["type"]) == ("default", "Microsoft.HybridCompute/settings")
    assert found["properties"]["tenantId"] == admin.cloud.tenant
    url = f"{gateway['id']}?api-version=2026-07-15"
    assert "GatewayInUse" in admin.refused("rest", "--method", "delete", "--url", url)
    link_away = {} if detached == "left out" else {"gatewayResourceId": detached}
    rest(admin, "put", place, {"properties": {"gatewayProperties": link_away}})
    assert rest(admin, "get", place)["properties"]["gatewayProperties"] == {}
    rest(admin, "patch", place, {"properties": link})
    rest(admin, "patch", place, {"properties": {"gatewayProperties": {"gatewayResourceId": None}}})
    assert rest(admin, "get", place)["properties"]["gatewayProperties"] == {}
    admin("resource", "delete", "--ids", gateway["id"])


def test_extensions_by_rest_never_show_their_secrets(admin: AzureCli, group: str) -> None:
    place = f"{_machine(admin, group)['id']}/extensions/AMA"
    properties = {
        "publisher": "Microsoft.Azure.Monitor",
        "type": "AzureMonitorLinuxAgent",
        "settings": {"proxy": {"mode": "application", "address": "http://127.0.0.1:40343", "auth": False}},
        "protectedSettings": {"key": "a secret"},
    }
    rest(admin, "put", place, {"location": "eastus", "properties": properties})
    shown = rest(admin, "get", place)
    assert shown["properties"]["instanceView"]["name"] == "AMA"
    assert "protectedSettings" not in shown["properties"]
    rest(admin, "patch", place, {"properties": {"enableAutomaticUpgrade": True}})
    [listed] = rest(admin, "get", place.rpartition("/")[0])["value"]
    assert listed["properties"]["enableAutomaticUpgrade"] is True
    rest(admin, "delete", place)
    assert rest(admin, "get", place.rpartition("/")[0]) == {"value": []}


def test_endpoint_sets_work_as_generic_resources(admin: AzureCli, group: str) -> None:
    named = ("-g", group, "-n", "erp", "--resource-type", "Arcgate.Network/endpointSets")
    properties = json.dumps({"endpoints": ["*.erp.example.com"], "allowPrivate": True})
    made = admin("resource", "create", *named, "--location", "eastus", "--properties", properties)
    assert made["properties"]["endpoints"] == ["*.erp.example.com"]
    assert admin("resource", "show", *named)["properties"]["allowPrivate"] is True
    admin("resource", "delete", *named)
    assert "ResourceNotFound" in admin.refused("resource", "show", *named, status=3)


def test_roles_are_given_and_taken_by_rest(admin: AzureCli, group: str, tmp_path: Path) -> None:
    scope = f"{admin.cloud.subscription}/resourceGroups/{group}"
    # A principal that can see this group only, so that what it is given shows.
    made = admin.cloud.principal("Azure Connected Machine Onboarding", scope)
    token = admin.cloud.client_token(made["clientId"], made["clientSecret"])
    assert admin.cloud.arm("GET", scope, token=token).code == "AuthorizationFailed"
    roles = rest(admin, "get", f"{scope}/providers/Microsoft.Authorization/roleDefinitions", version="2022-04-01")
    assert READER in [one["name"] for one in roles["value"]]
    place = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    role = f"{admin.cloud.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}"
    body = {"properties": {"roleDefinitionId": role, "principalId": made["id"], "principalType": "ServicePrincipal"}}
    rest(admin, "put", place, body, "2022-04-01")
    assert admin.cloud.arm("GET", scope, token=token).status == 200
    rest(admin, "delete", place, version="2022-04-01")
    assert admin.cloud.arm("GET", scope, token=token).code == "AuthorizationFailed"


def test_the_quota_is_told_in_words_that_help(admin: AzureCli, group: str) -> None:
    names = iter(range(100))
    while True:
        place = f"resourceGroups/{group}/providers/{GATEWAY}/gw-{next(names)}"
        if admin.cloud.arm("PUT", place, {"location": "eastus"}).status != 201:
            break
    named = ("-g", group, "-n", "too-many", "--resource-type", GATEWAY)
    said = admin.refused("resource", "create", *named, "--location", "eastus", "--properties", "{}")
    assert "(QuotaExceeded) The subscription has 30 gateways, and its quota is 30." in said
    assert "Delete one that is not in use" in said
    assert admin.cloud.arm("DELETE", f"resourceGroups/{group}", version="2024-11-01").status == 202


def test_lists_of_many_pages_are_whole(admin: AzureCli, group: str) -> None:
    names = sorted(f"server-{number:03}" for number in range(205))
    for name in names:
        _machine(admin, group, name)
    listed = admin("resource", "list", "--resource-type", MACHINE, "--query", f"[?resourceGroup=='{group}'].name")
    assert sorted(listed) == names


@pytest.mark.parametrize("version", [*HYBRID_COMPUTE, *OTHER_VERSIONS])
def test_every_version_that_clients_send_is_answered(admin: AzureCli, version: str) -> None:
    path = f"providers/{GATEWAY}"
    assert admin.cloud.arm("GET", path, version=version).status == 200
    path = f"providers/{MACHINE}"
    assert admin.cloud.arm("GET", path, version=version).status == 200


def test_an_unpublished_version_works_and_malformed_ones_are_refused_in_arms_words(admin: AzureCli) -> None:
    url = f"{admin.cloud.subscription}/providers/{GATEWAY}"
    assert "value" in admin("rest", "--url", f"{url}?api-version=2031-02-03")
    assert "MissingApiVersionParameter" in admin.refused("rest", "--url", url)
    assert "InvalidApiVersionParameter" in admin.refused("rest", "--url", f"{url}?api-version=latest")
    assert "InvalidApiVersionParameter" in admin.refused("rest", "--url", f"{url}?api-version=2024-13-45")


@pytest.mark.parametrize(
    "version", ["2024-05-20-preview", "2024-07-31-preview", "2024-11-10-preview", "2026-06-16-preview"]
)
def test_the_recorded_requests_of_the_command_extensions_are_answered_as_they_expect(
    admin: AzureCli, group: str, version: str
) -> None:
    at = f"resourceGroups/{group.upper()}/providers/Microsoft.HybridCompute"
    ask = admin.cloud.arm
    body = {"location": "eastus", "properties": {"allowedFeatures": ["*"], "gatewayType": "Public"}}
    made = ask("PUT", f"{at}/gateways/gw", body, version=version)
    assert made.status == 201
    polled = admin.cloud.request(
        "GET",
        made.headers["azure-asyncoperation"].removeprefix(admin.cloud.base),
        headers={"Authorization": f"Bearer {admin.cloud.admin_token()}"},
    )
    assert {"name", "status", "startTime"} <= set(polled.json())
    assert polled.json()["status"] == "Succeeded"
    # The preview's update reads, merges and puts back.
    shown = ask("GET", f"{at}/gateways/gw", version=version).json()
    assert ask("PUT", f"{at}/gateways/gw", {**shown, "tags": {"a": "b"}}, version=version).status == 200
    machine = {"location": "eastus", "properties": {"vmId": str(uuid.uuid4()), "osType": "linux"}}
    assert ask("PUT", f"{at}/machines/m", machine, version=version).status == 200
    settings = f"{at}/machines/m/providers/Microsoft.HybridCompute/settings/Default"
    found = ask("GET", settings, version=version)
    assert (found.status, found.json()["properties"]["gatewayProperties"]) == (200, {})
    linked = {**found.json(), "properties": {"gatewayProperties": {"gatewayResourceId": shown["id"]}}}
    assert ask("PUT", settings, linked, version=version).status == 200
    assert ask("DELETE", f"{at}/gateways/gw", version=version).code == "GatewayInUse"
    assert ask("PUT", settings, {"properties": {"gatewayProperties": {}}}, version=version).status == 200
    assert ask("DELETE", f"{at}/gateways/gw", version=version).status == 202
    assert ask("DELETE", f"{at}/machines/m", version=version).status == 204
