import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.snapshot import Kind, parse_gateway
from worlds.control_plane import BASE, GATEWAYS, MACHINES, SETS, SETTINGS, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def test_a_new_gateway_is_done_when_it_is_answered(plane: ControlPlane) -> None:
    began = time.monotonic()
    reply = await plane.gateway()
    assert time.monotonic() - began < 30  # a hang, not a measurement
    assert reply.status == 201
    properties = reply.json()["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert re.fullmatch(r"[0-9a-f-]{36}\.gw\.arcgate\.test", properties["gatewayEndpoint"])
    assert properties["allowedFeatures"] == ["*"]
    assert reply.json()["type"] == "Microsoft.HybridCompute/gateways"
    assert reply.headers["retry-after"] == "1"


async def test_a_gateway_s_say_in_hand_over_reaches_the_nodes_and_stays(plane: ControlPlane) -> None:
    reply = await plane.gateway()
    assert "handOver" not in reply.json()["properties"]
    assert all("handOver" not in (entry.body or {}) for entry in await plane.entries(Kind.GATEWAY))
    changed = await plane.arm("PATCH", f"{GATEWAYS}/gw", {"properties": {"handOver": "off"}})
    assert changed.json()["properties"]["handOver"] == "off"
    await plane.arm("PATCH", f"{GATEWAYS}/gw", {"properties": {"allowedFeatures": ["Monitor"]}})
    entry = (await plane.entries(Kind.GATEWAY))[-1]
    assert entry.body is not None
    assert (entry.body["handOver"], entry.body["allowedFeatures"]) == ("off", ["Monitor"])


async def test_signed_channels_are_off_until_they_are_allowed_and_reach_the_nodes(plane: ControlPlane) -> None:
    reply = await plane.gateway()
    assert "signedChannels" not in reply.json()["properties"]
    for is_allowed in (True, False):
        changed = await plane.arm("PATCH", f"{GATEWAYS}/gw", {"properties": {"signedChannels": is_allowed}})
        assert changed.json()["properties"].get("signedChannels", False) is is_allowed
        await plane.arm("PATCH", f"{GATEWAYS}/gw", {"properties": {"allowedFeatures": ["Monitor"]}})
        entry = (await plane.entries(Kind.GATEWAY))[-1]
        assert parse_gateway(entry.key, entry.body or {}).signed_channels is is_allowed


async def test_its_operation_has_succeeded_and_leads_to_the_resource(plane: ControlPlane) -> None:
    reply = await plane.gateway()
    status_url, result_url = reply.headers["azure-asyncoperation"], reply.headers["location"]
    assert status_url.startswith("https://management.arcgate.test/subscriptions/")
    status = await plane.arm("GET", status_url.removeprefix("https://management.arcgate.test").split("?")[0])
    assert status.json()["status"] == "Succeeded"
    result = await plane.arm("GET", result_url.removeprefix("https://management.arcgate.test").split("?")[0])
    assert result.json()["id"] == reply.json()["id"]


async def test_an_operation_is_forgotten_after_its_days(plane: ControlPlane) -> None:
    made = await plane.gateway()
    place = made.headers["azure-asyncoperation"].removeprefix(BASE).split("?")[0]
    plane.clock.advance(days=6, hours=23)
    admin = await plane.sign_in(plane.admin.principal)
    assert (await plane.arm("GET", place, caller=admin)).status == 200
    plane.clock.advance(hours=2)
    admin = await plane.sign_in(plane.admin.principal)
    assert (await plane.arm("GET", place, caller=admin)).code == "OperationNotFound"


async def test_the_same_put_again_changes_nothing(plane: ControlPlane) -> None:
    first = await plane.gateway()
    entries = await plane.entries(Kind.GATEWAY)
    second = await plane.gateway()
    assert second.status == 200
    assert second.json() == first.json()
    assert second.headers["etag"] == first.headers["etag"]
    assert await plane.entries(Kind.GATEWAY) == entries


async def test_what_get_showed_can_be_put_back(plane: ControlPlane) -> None:
    await plane.gateway()
    shown = (await plane.arm("GET", f"{GATEWAYS}/gw")).json()
    shown["properties"]["allowedFeatures"] = ["Monitor"]
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", shown)
    assert reply.status == 200
    assert reply.json()["properties"]["allowedFeatures"] == ["Monitor"]


async def test_a_change_is_published_under_a_new_revision(plane: ControlPlane) -> None:
    made = await plane.gateway()
    prefix = made.json()["properties"]["gatewayEndpoint"].split(".")[0]
    [before] = await plane.entries(Kind.GATEWAY)
    ticket = plane.context.changes.ticket(f"gateway:{prefix}")
    await plane.arm("PATCH", f"{GATEWAYS}/gw", {"properties": {"allowedFeatures": ["monitor"]}})
    [after] = await plane.entries(Kind.GATEWAY)
    assert after.key == prefix
    assert after.revision > before.revision
    assert after.body is not None
    assert after.body["allowedFeatures"] == ["Monitor"]
    assert await plane.context.changes.wait(ticket, 0)


async def test_a_patch_of_tags_leaves_the_features(plane: ControlPlane) -> None:
    await plane.gateway("gw", "Monitor")
    reply = await plane.arm("PATCH", f"{GATEWAYS}/gw", {"tags": {"a": "b"}})
    assert reply.json()["tags"] == {"a": "b"}
    assert reply.json()["properties"]["allowedFeatures"] == ["Monitor"]


async def test_a_put_without_features_does_not_widen_them(plane: ControlPlane) -> None:
    await plane.gateway("gw", "Monitor")
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", {"location": "eastus"})
    assert reply.json()["properties"]["allowedFeatures"] == ["Monitor"]


async def test_the_sixth_gateway_gets_a_clear_quota_error(plane: ControlPlane) -> None:
    for number in range(5):
        assert (await plane.gateway(f"gw{number}")).status == 201
    refused = await plane.gateway("gw5")
    assert refused.status == 409
    assert refused.code == "QuotaExceeded"
    assert "quota is 5" in refused.json()["error"]["message"]
    assert (await plane.gateway("gw4")).status == 200


async def test_parallel_creations_do_not_break_the_quota(plane: ControlPlane) -> None:
    replies = await asyncio.gather(*(plane.gateway(f"gw{number}") for number in range(12)))
    assert sorted(reply.status for reply in replies) == [201] * 5 + [409] * 7
    listed = await plane.arm("GET", GATEWAYS)
    assert len(listed.json()["value"]) == 5


async def test_parallel_puts_of_one_gateway_make_one(plane: ControlPlane) -> None:
    replies = await asyncio.gather(*(plane.gateway() for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [200] * 5 + [201]
    assert len({reply.json()["properties"]["gatewayId"] for reply in replies}) == 1


async def test_features_that_a_shell_expanded_are_explained(plane: ControlPlane) -> None:
    reply = await plane.gateway("gw", "README.md", "src")
    assert reply.status == 400
    assert reply.code == "InvalidAllowedFeatures"
    assert "shell" in reply.json()["error"]["message"]
    assert reply.json()["error"]["target"] == "properties.allowedFeatures"


@pytest.mark.parametrize(
    "properties",
    [
        {"allowedFeatures": "*"},
        {"allowedFeatures": ["*", "Monitor"]},
        {"allowedFeatures": ["monitor "]},
        {"allowedFeatures": [5]},
        {"gatewayType": "Private"},
        {"gatewayType": 5},
        {"gatewayBypass": ["*.example.com"]},
        {"gatewayBypass": ["10.0.0.1"]},
        {"gatewayBypass": ["example.com:443"]},
        {"handOver": "sometimes"},
        {"handOver": "BULK"},
        {"handOver": ""},
        {"signedChannels": "yes"},
        {"signedChannels": 1},
        {"handOver": ["off"]},
        {"unknown": True},
        {"__proto__": {}},
        [],
        "x",
    ],
)
async def test_wrong_properties_are_refused_and_change_nothing(plane: ControlPlane, properties: object) -> None:
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", {"location": "eastus", "properties": properties})
    assert reply.status == 400
    assert reply.json()["error"]["message"]
    assert (await plane.arm("GET", f"{GATEWAYS}/gw")).status == 404


@pytest.mark.parametrize(
    "body", [{}, {"location": None}, {"location": 5}, {"location": "mars"}, {"location": "eastus", "x": 1}]
)
async def test_wrong_envelopes_are_refused(plane: ControlPlane, body: object) -> None:
    assert (await plane.arm("PUT", f"{GATEWAYS}/gw", body)).status == 400


async def test_a_location_may_be_written_as_people_see_it(plane: ControlPlane) -> None:
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", {"location": "East US"})
    assert reply.json()["location"] == "eastus"


async def test_a_gateway_does_not_move(plane: ControlPlane) -> None:
    await plane.gateway()
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", {"location": "westeurope"})
    assert (reply.status, reply.code) == (409, "InvalidResourceLocation")


@pytest.mark.parametrize("name", ["a" * 91, "gw.", "gw%20", "💥", "<img src=x>", "gw;x", ".gw"])
async def test_odd_names_are_refused(plane: ControlPlane, name: str) -> None:
    assert (await plane.gateway(name)).status == 400


async def test_endpoint_sets_can_be_named_as_features(plane: ControlPlane) -> None:
    body = {"properties": {"endpoints": ["10.0.0.0/8:8443"], "allowPrivate": True}}
    assert (await plane.arm("PUT", f"{SETS}/inner", body, version="2026-11-01")).status == 201
    reply = await plane.gateway("gw", "INNER", "monitor")
    assert reply.json()["properties"]["allowedFeatures"] == ["inner", "Monitor"]


async def test_a_missing_gateway_is_reported_in_arms_words(plane: ControlPlane) -> None:
    reply = await plane.arm("GET", f"{GATEWAYS}/none")
    assert (reply.status, reply.code) == (404, "ResourceNotFound")
    reply = await plane.arm("GET", "resourceGroups/none/providers/Microsoft.HybridCompute/gateways/none")
    assert (reply.status, reply.code) == (404, "ResourceGroupNotFound")
    assert (await plane.arm("PATCH", f"{GATEWAYS}/none", {"tags": {}})).status == 404


async def test_paths_compare_without_case_and_collapse(plane: ControlPlane) -> None:
    made = await plane.gateway("Gw")
    subscription = f"/Subscriptions/{plane.subscription_id.upper()}"
    path = f"{subscription}//resourcegroups/SERVERS/PROVIDERS/microsoft.hybridcompute//GATEWAYS/gW"
    reply = await plane.arm("GET", path)
    assert reply.json()["id"] == made.json()["id"]
    assert reply.json()["name"] == "Gw"


async def test_deletion_is_accepted_and_then_nothing_is_there(plane: ControlPlane) -> None:
    await plane.gateway()
    reply = await plane.arm("DELETE", f"{GATEWAYS}/gw")
    assert reply.status == 202
    assert reply.body == b""
    place = reply.headers["azure-asyncoperation"].removeprefix("https://management.arcgate.test").split("?")[0]
    assert (await plane.arm("GET", place)).json()["status"] == "Succeeded"
    assert (await plane.arm("GET", f"{GATEWAYS}/gw")).status == 404
    assert (await plane.arm("DELETE", f"{GATEWAYS}/gw")).status == 204
    [entry] = await plane.entries(Kind.GATEWAY, after=1)
    assert entry.body is None


async def test_a_gateway_in_use_is_not_deleted_and_the_error_names_machines(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    for number in range(7):
        await plane.machine(f"server-{number}")
        assert (await plane.associate(f"server-{number}", gateway)).status == 200
    reply = await plane.arm("DELETE", f"{GATEWAYS}/gw")
    assert (reply.status, reply.code) == (409, "GatewayInUse")
    message = reply.json()["error"]["message"]
    assert "7 machines" in message
    assert "server-4" in message
    assert "server-5" not in message
    assert (await plane.arm("GET", f"{GATEWAYS}/gw")).status == 200


async def test_force_detaches_and_deletes_in_one_revision(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    vm_id = (await plane.machine()).json()["properties"]["vmId"]
    await plane.associate("server-1", gateway)
    [before] = await plane.entries(Kind.MACHINE)
    reply = await plane.arm("DELETE", f"{GATEWAYS}/gw", query={"force": "true"})
    assert reply.status == 202
    [machine] = await plane.entries(Kind.MACHINE)
    [gone] = await plane.entries(Kind.GATEWAY, after=before.revision)
    assert machine.key == vm_id
    assert machine.body is not None
    assert machine.body["gateway"] is None
    assert machine.revision == gone.revision
    settings = await plane.arm("GET", f"{MACHINES}/server-1/{SETTINGS}")
    assert settings.json()["properties"]["gatewayProperties"] == {}


async def test_lists_come_in_pages_with_absolute_links(plane: ControlPlane) -> None:
    for name in ("a", "b", "c"):
        await plane.gateway(name)
    first = await plane.arm("GET", "providers/Microsoft.HybridCompute/gateways", query={"$top": "2"})
    assert [one["name"] for one in first.json()["value"]] == ["a", "b"]
    link = first.json()["nextLink"]
    assert link.startswith("https://management.arcgate.test/subscriptions/")
    place, _, query = link.removeprefix("https://management.arcgate.test").partition("?")
    assert "api-version" in query
    token = query.split("skipToken=")[1]
    second = await plane.arm("GET", place, query={"$top": "2", "$skipToken": token})
    assert [one["name"] for one in second.json()["value"]] == ["c"]
    assert "nextLink" not in second.json()


@pytest.mark.parametrize(
    "query", [{"$top": "-1"}, {"$top": "0"}, {"$top": "x"}, {"$skipToken": "%%%"}, {"$skipToken": "_w"}]
)
async def test_forged_paging_is_refused(plane: ControlPlane, query: dict[str, str]) -> None:
    assert (await plane.arm("GET", GATEWAYS, query=query)).status == 400


async def test_preconditions_are_kept(plane: ControlPlane) -> None:
    made = await plane.gateway()
    body = {"location": "eastus"}
    excluded = await plane.arm("PUT", f"{GATEWAYS}/gw", body, headers={"If-None-Match": "*"})
    assert (excluded.status, excluded.code) == (412, "PreconditionFailed")
    other = await plane.arm("PUT", f"{GATEWAYS}/gw", body, headers={"If-Match": '"other"'})
    assert other.status == 412
    malformed = await plane.arm("PUT", f"{GATEWAYS}/gw", body, headers={"If-Match": "other"})
    assert malformed.status == 400
    same = await plane.arm("PUT", f"{GATEWAYS}/gw", body, headers={"If-Match": made.headers["etag"]})
    assert same.status == 200


async def test_other_methods_are_refused_with_what_is_allowed(plane: ControlPlane) -> None:
    reply = await plane.arm("POST", f"{GATEWAYS}/gw", {})
    assert (reply.status, reply.code) == (405, "MethodNotAllowed")
    assert "PUT" in reply.headers["allow"]


async def test_forwarded_hosts_do_not_reach_our_links(plane: ControlPlane) -> None:
    spoofed = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    body = {"location": "eastus"}
    reply = await plane.arm("PUT", f"{GATEWAYS}/gw", body, headers=spoofed)
    assert reply.headers["location"].startswith("https://management.arcgate.test/")
    assert "evil" not in str(reply.headers)
