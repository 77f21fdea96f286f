"""Tenants, subscriptions, groups, providers; and what ARM answers to nonsense."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.snapshot import Kind
from worlds.asgi import ask
from worlds.control_plane import GATEWAYS, MACHINES, SETS, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def test_the_cloud_describes_itself_without_sign_in(plane: ControlPlane) -> None:
    reply = await ask(plane.app, "GET", "/metadata/endpoints?api-version=2022-09-01")
    document = reply.json()
    assert document["name"] == "Arcgate"
    assert document["resourceManager"] == "https://management.arcgate.test"
    assert document["authentication"]["loginEndpoint"] == "https://login.arcgate.test"
    assert document["authentication"]["audiences"] == ["https://management.arcgate.test/"]
    assert document["authentication"]["tenant"] == plane.tenant_id
    assert isinstance(document["suffixes"], dict)
    clouds = await ask(plane.app, "GET", "/metadata/clouds")
    assert clouds.json() == [document]


async def test_tenants_subscriptions_and_locations_are_listed(plane: ControlPlane) -> None:
    [tenant] = (await plane.arm("GET", "/tenants", version="2022-12-01")).json()["value"]
    assert tenant["tenantId"] == plane.tenant_id
    [subscription] = (await plane.arm("GET", "/subscriptions", version="2022-12-01")).json()["value"]
    assert subscription["subscriptionId"] == plane.subscription_id
    assert subscription["state"] == "Enabled"
    locations = (await plane.arm("GET", "locations", version="2022-12-01")).json()["value"]
    assert {"name": "eastus", "displayName": "East US"}.items() <= locations[0].items()


async def test_providers_are_registered_with_types_and_versions(plane: ControlPlane) -> None:
    for method, path in (
        ("GET", "providers/microsoft.hybridcompute"),
        ("POST", "providers/Microsoft.HybridCompute/register"),
    ):
        reply = await plane.arm(method, path, version="2016-02-01")
        assert reply.json()["registrationState"] == "Registered"
        types = {one["resourceType"]: one["apiVersions"] for one in reply.json()["resourceTypes"]}
        assert "2026-07-15" in types["gateways"]
    assert (await plane.arm("GET", "providers/No.Such")).code == "InvalidResourceNamespace"
    operations = await plane.arm("GET", "/providers/Microsoft.HybridCompute/operations")
    assert "Microsoft.HybridCompute/gateways/write" in [one["name"] for one in operations.json()["value"]]


async def test_groups_are_made_shown_changed_and_deleted(plane: ControlPlane) -> None:
    made = await plane.group("Second")
    assert made.status == 201
    assert (await plane.group("second")).status == 200
    assert (await plane.arm("HEAD", "resourcegroups/SECOND", version="2024-11-01")).status == 204
    assert (await plane.arm("HEAD", "resourcegroups/none", version="2024-11-01")).status == 404
    patched = await plane.arm("PATCH", "resourcegroups/second", {"tags": {"a": "b"}}, version="2024-11-01")
    assert patched.json()["tags"] == {"a": "b"}
    assert patched.json()["name"] == "Second"
    gone = await plane.arm("DELETE", "resourceGroups/second", version="2024-11-01")
    assert gone.status == 202
    place = gone.headers["location"].removeprefix("https://management.arcgate.test").split("?")[0]
    assert (await plane.arm("GET", place, version="2024-11-01")).status == 200
    assert (await plane.arm("GET", "resourceGroups/second", version="2024-11-01")).code == "ResourceGroupNotFound"


async def test_a_group_takes_its_resources_with_it(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    await plane.machine()
    await plane.associate("server-1", gateway)
    await plane.arm("PUT", f"{SETS}/s", {"properties": {"endpoints": ["a.example.com"]}}, version="2026-11-01")
    assert (await plane.arm("DELETE", "resourceGroups/servers", version="2024-11-01")).status == 202
    for kind in (Kind.GATEWAY, Kind.MACHINE, Kind.ENDPOINT_SET):
        assert await plane.entries(kind) == []


async def test_a_group_whose_gateway_others_use_stays(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    await plane.group("other")
    path = "resourceGroups/other/providers/Microsoft.HybridCompute/machines/m"
    await plane.arm("PUT", path, {"location": "eastus"})
    body = {"properties": {"gatewayProperties": {"gatewayResourceId": gateway}}}
    await plane.arm("PUT", f"{path}/providers/Microsoft.HybridCompute/settings/default", body)
    reply = await plane.arm("DELETE", "resourceGroups/servers", version="2024-11-01")
    assert (reply.status, reply.code) == (409, "GatewayInUse")


async def test_resources_are_listed_together_and_by_type(plane: ControlPlane) -> None:
    await plane.gateway()
    await plane.machine()
    every = await plane.arm("GET", "resources", version="2024-11-01")
    assert len(every.json()["value"]) == 2
    chosen = {"$filter": "resourceType eq 'microsoft.hybridcompute/GATEWAYS'", "$expand": "createdTime"}
    gateways = await plane.arm("GET", "resourceGroups/servers/resources", version="2024-11-01", query=chosen)
    assert [one["type"] for one in gateways.json()["value"]] == ["Microsoft.HybridCompute/gateways"]
    page = await plane.arm("GET", "resources", version="2024-11-01", query={"$top": "1"})
    assert "nextLink" in page.json()
    bad = await plane.arm("GET", "resources", version="2024-11-01", query={"$filter": "1 eq 1"})
    assert bad.status == 400


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("?api-version=", "MissingApiVersionParameter"),
        ("?api-version=2024-13-45", "InvalidApiVersionParameter"),
        ("?api-version=2024-07-10-preview'--", "InvalidApiVersionParameter"),
        ("?api-version=2024-07-10&api-version=2025-01-13", "InvalidApiVersionParameter"),
        (f"?api-version={'1' * 6000}", "InvalidApiVersionParameter"),
    ],
)
async def test_wrong_api_versions_are_refused(plane: ControlPlane, query: str, code: str) -> None:
    path = f"/subscriptions/{plane.subscription_id}/{GATEWAYS}{query}"
    reply = await ask(plane.app, "GET", path, headers=plane.admin.headers)
    assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize("version", ["2099-01-01", "2025-06-02", "2019-03-18-preview", "2026-07-15"])
async def test_every_well_formed_date_is_answered(plane: ControlPlane, version: str) -> None:
    assert (await plane.arm("GET", GATEWAYS, version=version)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b'{"location":"eastus"',
        b'{"location":"eastus"} {}',
        b'\xef\xbb\xbf{"location":"eastus"}',
        '{"location":"eastus"}'.encode("utf-16"),
        b'{"location":"eastus","tags":{"a":NaN}}',
        b'{"location":"eastus","location":"westeurope"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"location":"eastus","tags":{"a":' + b"9" * 5000 + b"}}",
        b'{"location":"eastus","tags":{"a":"\\ud800"}}',
        b'{"location":"eastus","tags":{"a":1e999}}',
        b'{"location":"eastus","tags":[]}',
        b'{"location":"eastus","tags":{"a":{}}}',
        b'{"location":"eastus","tags":{"' + b"k" * 513 + b'":"v"}}',
        b'{"location":"eastus","tags":{' + b",".join(b'"k%d":"v"' % n for n in range(51)) + b"}}",
    ],
)
async def test_malformed_bodies_are_refused(plane: ControlPlane, body: bytes) -> None:
    path = f"/subscriptions/{plane.subscription_id}/{GATEWAYS}/gw?api-version=2026-07-15"
    headers = {**plane.admin.headers, "content-type": "application/json"}
    reply = await ask(plane.app, "PUT", path, body=body, headers=headers)
    assert (reply.status, reply.code) == (400, "InvalidRequestContent")
    assert (await plane.arm("GET", f"{GATEWAYS}/gw")).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json; charset=utf-7"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 201),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
    ],
)
async def test_only_json_in_utf8_is_read(plane: ControlPlane, headers: dict[str, str], status: int) -> None:
    path = f"/subscriptions/{plane.subscription_id}/{GATEWAYS}/gw?api-version=2026-07-15"
    reply = await ask(plane.app, "PUT", path, body=b'{"location":"eastus"}', headers={**plane.admin.headers, **headers})
    assert reply.status == status


async def test_a_body_above_the_limit_is_refused(tmp_path: Path, database: Database) -> None:
    async with control_plane(tmp_path, database, control={"largest_body": 2048}) as plane:
        await plane.group()
        body = {"location": "eastus", "tags": {"a": "x" * 3000}}
        reply = await plane.arm("PUT", f"{GATEWAYS}/gw", body)
        assert (reply.status, reply.code) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "path",
    [
        "/subscriptions/../tenants",
        "/subscriptions/%2e%2e/tenants",
        "/subscriptions/a%2Fb",
        "/subscriptions/a%00",
        "/subscriptions/%c0%ae",
        "/subscriptions/a%5cb",
        "/subscriptions/a%0d%0ab",
    ],
)
async def test_ambiguous_paths_are_refused(plane: ControlPlane, path: str) -> None:
    reply = await ask(plane.app, "GET", f"{path}?api-version=2022-12-01", headers=plane.admin.headers)
    assert (reply.status, reply.code) == (400, "InvalidRequestUri")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("resourceGroups/servers/providers/No.Such/things/x", "InvalidResourceType"),
        ("resourceGroups/servers/providers/Microsoft.HybridCompute/gateways/gw/children/x", "InvalidResourceType"),
        ("/nothing/here/at/all", "NotFound"),
    ],
)
async def test_unknown_types_are_reported(plane: ControlPlane, path: str, code: str) -> None:
    reply = await plane.arm("GET", path)
    assert (reply.status, reply.code) == (404, code)


@pytest.mark.parametrize(
    "subscription", ["x", "{82ef4936-4799-441a-8028-a216df272445}", "82ef4936-4799-441a-8028-a216df2724455"]
)
async def test_malformed_subscription_ids_are_refused(plane: ControlPlane, subscription: str) -> None:
    assert (await plane.arm("GET", f"/subscriptions/{subscription}/resourceGroups")).status == 400


async def test_every_answer_has_its_ids(plane: ControlPlane) -> None:
    reply = await plane.arm("GET", GATEWAYS, headers={"x-ms-correlation-request-id": "given-1"})
    assert reply.headers["x-ms-request-id"]
    assert reply.headers["x-ms-correlation-request-id"] == "given-1"
    odd = await plane.arm(
        "GET", "/none", headers={"x-ms-correlation-request-id": "a\tb", "x-ms-client-request-id": "z" * 999}
    )
    assert odd.headers["x-ms-correlation-request-id"] == odd.headers["x-ms-request-id"]


async def test_a_failure_of_ours_is_answered_without_detail(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary-secret")

    monkeypatch.setattr(type(plane.context.tokens), "verify", fail)
    reply = await plane.arm("GET", GATEWAYS)
    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert b"canary" not in reply.body
    assert reply.headers["x-ms-request-id"]


async def test_lists_stay_whole_while_others_write(plane: ControlPlane) -> None:
    await asyncio.gather(*(plane.machine(f"m{number:02}") for number in range(12)))
    seen: list[str] = []
    query = {"$top": "5"}
    while True:
        page = (await plane.arm("GET", MACHINES, query=query)).json()
        seen += [one["name"] for one in page["value"]]
        if "nextLink" not in page:
            break
        await plane.arm("DELETE", f"{MACHINES}/{seen[0]}")
        query = {"$top": "5", "$skipToken": page["nextLink"].split("skipToken=")[1]}
    assert seen == [f"m{number:02}" for number in range(12)]


async def test_endpoint_sets_are_published_and_withdrawn(plane: ControlPlane) -> None:
    body = {"properties": {"endpoints": ["*.inner.example.com", "10.0.0.0/8:8443"], "allowPrivate": True}}
    made = await plane.arm("PUT", f"{SETS}/Inner", body, version="2026-11-01")
    assert made.status == 201
    [entry] = await plane.entries(Kind.ENDPOINT_SET)
    assert entry.key == made.json()["id"].lower()
    assert entry.body == {
        "name": "Inner",
        "tenantId": plane.tenant_id,
        "endpoints": ["*.inner.example.com", "10.0.0.0/8:8443"],
        "allowPrivate": True,
    }
    assert (await plane.arm("PUT", f"{SETS}/inner", body, version="2026-11-01")).status == 200
    assert (await plane.arm("DELETE", f"{SETS}/inner", version="2026-11-01")).status == 204
    assert await plane.entries(Kind.ENDPOINT_SET) == []


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("s", {"endpoints": []}),
        ("s", {}),
        ("s", {"endpoints": ["*"]}),
        ("s", {"endpoints": ["http://x"]}),
        ("s", {"endpoints": ["a.example.com"], "allowPrivate": "yes"}),
        ("Monitor", {"endpoints": ["a.example.com"]}),
        ("*", {"endpoints": ["a.example.com"]}),
    ],
)
async def test_wrong_endpoint_sets_are_refused(plane: ControlPlane, name: str, properties: object) -> None:
    reply = await plane.arm("PUT", f"{SETS}/{name}", {"properties": properties}, version="2026-11-01")
    assert reply.status == 400
