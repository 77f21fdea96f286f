"""Who may do what: roles, scopes, tenants, tokens."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from arcgate.control.arm.roles import (
    CONTRIBUTOR,
    GATEWAY_OPERATOR,
    MACHINE_ADMINISTRATOR,
    ONBOARDING,
    OWNER,
    READER,
    Role,
)
from arcgate.control.store.models import KeyRow
from worlds.asgi import Reply, ask
from worlds.control_plane import AUDIENCE, BASE, GATEWAYS, MACHINES, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


async def _with_token(plane: ControlPlane, authorization: str) -> Reply:
    return await ask(
        plane.app, "GET", "/subscriptions?api-version=2022-12-01", headers={"authorization": authorization}
    )


def _claims(plane: ControlPlane, **changes: object) -> dict[str, object]:
    now = int(plane.clock().timestamp())
    claims = {
        "iss": f"{BASE}/{plane.tenant_id}/v2.0",
        "aud": AUDIENCE,
        "tid": plane.tenant_id,
        "oid": plane.admin.principal.id,
        "appid": "test",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


async def _our_key(plane: ControlPlane) -> RSAKey:
    [(key, _)] = plane.context.tokens._keys.values()
    return key


async def _signed(plane: ControlPlane, **changes: object) -> str:
    key = await _our_key(plane)
    return "Bearer " + jwt.encode(
        {"alg": "RS256", "kid": key.kid}, _claims(plane, **changes), key, algorithms=["RS256"]
    )


async def test_a_good_token_passes(plane: ControlPlane) -> None:
    assert (await _with_token(plane, await _signed(plane))).status == 200


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"exp": 1}, "expired"),
        ({"nbf": 4102444800}, "not valid yet"),
        ({"aud": "https://graph.microsoft.com/"}, "audience"),
        ({"aud": ["https://management.arcgate.test/"]}, "missing"),
        ({"iss": "https://sts.windows.net/x/"}, "issuer"),
        ({"iss": "https://evil.example/x/v2.0"}, "issuer"),
        ({"oid": None}, "missing"),
        ({"exp": None}, "missing"),
        ({"exp": "4102444800"}, "missing"),
        ({"exp": True}, "missing"),
        ({"oid": "00000000-0000-4000-8000-000000000000"}, "does not exist"),
    ],
)
async def test_wrong_claims_are_refused(plane: ControlPlane, changes: dict[str, object], word: str) -> None:
    reply = await _with_token(plane, await _signed(plane, **changes))
    assert reply.status == 401
    assert word in reply.json()["error"]["message"]
    assert reply.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("audience", ["https://management.azure.com/", "https://management.core.windows.net"])
async def test_audiences_of_unconfigured_clients_pass(plane: ControlPlane, audience: str) -> None:
    assert (await _with_token(plane, await _signed(plane, aud=audience))).status == 200


async def test_a_little_skew_of_another_node_passes(plane: ControlPlane) -> None:
    ahead = int(plane.clock().timestamp()) + 200
    assert (await _with_token(plane, await _signed(plane, nbf=ahead))).status == 200


async def test_unsigned_and_foreign_signatures_are_refused(plane: ControlPlane) -> None:
    ours = await _our_key(plane)
    claims = _claims(plane)
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    foreign = RSAKey.import_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    async with plane.context.store.read() as session:
        row = await session.get_one(KeyRow, ours.kid)
    confused = OctKey.import_key(base64.b64encode(row.public.encode()).decode())
    jku = {"alg": "RS256", "kid": "x", "jku": "https://evil.example/keys"}
    tokens = [
        f"{none}.{body}.",
        f"{none}.{body}.AA",
        jwt.encode({"alg": "RS256", "kid": ours.kid}, claims, foreign, algorithms=["RS256"]),
        jwt.encode({"alg": "HS256", "kid": ours.kid}, claims, confused, algorithms=["HS256"]),
        jwt.encode({"alg": "RS256", "kid": "../../etc/passwd"}, claims, foreign, algorithms=["RS256"]),
        jwt.encode(jku, claims, foreign, algorithms=["RS256"]),
        jwt.encode({"alg": "RS256"}, claims, foreign, algorithms=["RS256"]),
        "x" * 32 * 1024,
        "a.b.c",
    ]
    for token in tokens:
        reply = await _with_token(plane, f"Bearer {token}")
        assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken"), token[:60]


@pytest.mark.parametrize("text", ["Bearer", "Bearer ", "Basic eDp5", "Bearer a b"])
async def test_malformed_authorization_is_refused(plane: ControlPlane, text: str) -> None:
    assert (await _with_token(plane, text)).status == 401


async def test_every_family_wants_a_token(plane: ControlPlane) -> None:
    for path in ("/tenants", "/subscriptions", "/providers", f"/subscriptions/{plane.subscription_id}/resourceGroups"):
        reply = await ask(plane.app, "GET", f"{path}?api-version=2022-12-01")
        assert (reply.status, reply.code) == (401, "AuthenticationFailed")


async def test_a_disabled_principal_is_out_at_once(plane: ControlPlane) -> None:
    somebody = await plane.principal(READER)
    assert (await plane.arm("GET", GATEWAYS, caller=somebody)).status == 200
    async with plane.context.store.write() as transaction:
        (await transaction.session.merge(somebody.principal)).is_enabled = False
    assert (await plane.arm("GET", GATEWAYS, caller=somebody)).status == 401


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        (READER, "GET", f"{GATEWAYS}/gw", 200),
        (READER, "PATCH", f"{GATEWAYS}/gw", 403),
        (READER, "DELETE", f"{GATEWAYS}/gw", 403),
        (READER, "PATCH", f"{GATEWAYS}/missing", 403),
        (CONTRIBUTOR, "PATCH", f"{GATEWAYS}/gw", 200),
        (OWNER, "PATCH", f"{GATEWAYS}/gw", 200),
        (GATEWAY_OPERATOR, "PATCH", f"{GATEWAYS}/gw", 200),
        (GATEWAY_OPERATOR, "PATCH", f"{MACHINES}/server-1", 403),
        (GATEWAY_OPERATOR, "GET", f"{MACHINES}/server-1", 200),
        (ONBOARDING, "PATCH", f"{MACHINES}/server-1", 200),
        (ONBOARDING, "DELETE", f"{MACHINES}/server-1", 403),
        (ONBOARDING, "PATCH", f"{GATEWAYS}/gw", 403),
        (MACHINE_ADMINISTRATOR, "DELETE", f"{MACHINES}/server-1", 204),
        (MACHINE_ADMINISTRATOR, "DELETE", f"{GATEWAYS}/gw", 403),
    ],
)
async def test_roles_permit_what_they_say(plane: ControlPlane, role: Role, method: str, path: str, status: int) -> None:
    await plane.gateway()
    await plane.machine()
    somebody = await plane.principal(role)
    body: dict[str, dict[str, str]] | None = {"tags": {}} if method == "PATCH" else None
    reply = await plane.arm(method, path, body, caller=somebody)
    assert reply.status == status
    if status == 403:
        assert reply.code == "AuthorizationFailed"
        assert somebody.principal.id in reply.json()["error"]["message"]


async def test_a_role_at_rg1_says_nothing_about_rg10(plane: ControlPlane) -> None:
    for name in ("rg1", "rg10"):
        await plane.group(name)
        path = f"resourceGroups/{name}/providers/Microsoft.HybridCompute/gateways/gw"
        await plane.arm("PUT", path, {"location": "eastus"})
    scope = f"/subscriptions/{plane.subscription_id}/resourceGroups/rg1"
    somebody = await plane.principal(CONTRIBUTOR, scope)
    inner = "resourceGroups/RG1/providers/Microsoft.HybridCompute/gateways/gw"
    outer = "resourceGroups/rg10/providers/Microsoft.HybridCompute/gateways/gw"
    assert (await plane.arm("GET", inner, caller=somebody)).status == 200
    assert (await plane.arm("GET", outer, caller=somebody)).status == 403
    listed = await plane.arm("GET", "providers/Microsoft.HybridCompute/gateways", caller=somebody)
    assert [one["id"].split("/")[4] for one in listed.json()["value"]] == ["rg1"]
    groups = await plane.arm("GET", "resourceGroups", caller=somebody, version="2024-11-01")
    assert [one["name"] for one in groups.json()["value"]] == ["rg1"]
    resources = await plane.arm("GET", "resources", caller=somebody, version="2024-11-01")
    assert [one["id"].split("/")[4] for one in resources.json()["value"]] == ["rg1"]


async def test_a_subscription_of_others_is_answered_like_a_missing_one(plane: ControlPlane) -> None:
    stranger, foreign = await plane.other_tenant()
    second = await plane.other_subscription()
    nobody = await plane.principal()
    missing = "00000000-0000-4000-8000-000000000001"
    tail = "resourceGroups/servers/providers/Microsoft.HybridCompute/gateways/gw"

    async def answer(subscription: str, who: object) -> tuple[int, str]:
        reply = await plane.arm("GET", f"/subscriptions/{subscription}/{tail}", caller=who)  # type: ignore[arg-type]
        return reply.status, json.dumps(reply.json()).replace(subscription, "S")

    expected = await answer(missing, plane.admin)
    assert expected[0] == 404
    assert await answer(foreign, plane.admin) == expected
    assert await answer(plane.subscription_id, stranger) == expected
    assert await answer(plane.subscription_id, nobody) == expected
    limited = await plane.principal(READER)
    assert await answer(second, limited) == expected
    for who, seen in ((plane.admin, foreign), (stranger, plane.subscription_id)):
        listed = await plane.arm("GET", "/subscriptions", caller=who, version="2022-12-01")
        assert seen not in json.dumps(listed.json())


async def test_operations_of_others_are_answered_like_missing_ones(plane: ControlPlane) -> None:
    reply = await plane.gateway()
    place = reply.headers["azure-asyncoperation"].removeprefix(BASE).split("?")[0]
    stranger, foreign = await plane.other_tenant()
    machine_only = await plane.principal(ONBOARDING)
    assert (await plane.arm("GET", place, caller=machine_only)).status == 404
    elsewhere = place.replace(plane.subscription_id, foreign)
    assert (await plane.arm("GET", elsewhere, caller=stranger)).status == 404
    assert (await plane.arm("GET", place.upper().replace("/SUBSCRIPTIONS", "/subscriptions"))).status == 200
    assert (await plane.arm("GET", place[:-1] + ("0" if place[-1] != "0" else "1"))).status == 404


async def test_service_principals_can_be_made_used_and_deleted(plane: ControlPlane) -> None:
    scope = f"/subscriptions/{plane.subscription_id}"
    path = f"/tenants/{plane.tenant_id}/providers/Arcgate.Network/servicePrincipals"
    body = {"displayName": "onboarding", "role": "Azure Connected Machine Onboarding", "scope": scope}
    made = await plane.arm("POST", path, body, version="2026-11-01")
    assert made.status == 201
    form = {
        "grant_type": "client_credentials",
        "client_id": made.json()["clientId"],
        "client_secret": made.json()["clientSecret"],
        "scope": f"{AUDIENCE}/.default",
    }
    token = await plane.post_form(f"/{plane.tenant_id}/oauth2/v2.0/token", **form)
    assert token.status == 200
    listed = await plane.arm("GET", path, version="2026-11-01")
    assert [one["displayName"] for one in listed.json()["value"]] == ["onboarding"]
    assert made.json()["clientSecret"] not in json.dumps(listed.json())
    gone = await plane.arm("DELETE", f"{path}/{made.json()['clientId']}", version="2026-11-01")
    assert gone.status == 204
    assert (await plane.post_form(f"/{plane.tenant_id}/oauth2/v2.0/token", **form)).status == 401
    assert (await _with_token(plane, f"Bearer {token.json()['access_token']}")).status == 401


async def test_nobody_gives_more_than_he_has(plane: ControlPlane) -> None:
    path = f"/tenants/{plane.tenant_id}/providers/Arcgate.Network/servicePrincipals"
    scope = f"/subscriptions/{plane.subscription_id}"
    contributor = await plane.principal(CONTRIBUTOR)
    group_owner = await plane.principal(OWNER, f"{scope}/resourceGroups/servers")
    body = {"displayName": "x", "role": "Owner", "scope": scope}
    for who in (contributor, group_owner):
        assert (await plane.arm("POST", path, body, caller=who, version="2026-11-01")).status == 403
    inner = {**body, "scope": f"{scope}/resourceGroups/servers"}
    assert (await plane.arm("POST", path, inner, caller=group_owner, version="2026-11-01")).status == 201
    assert (await plane.arm("POST", path, {**body, "role": "King"}, version="2026-11-01")).status == 400
    assert (await plane.arm("POST", path, {**body, "scope": "../x"}, version="2026-11-01")).status == 400
    _, foreign = await plane.other_tenant()
    there = {**body, "scope": f"/subscriptions/{foreign}"}
    assert (await plane.arm("POST", path, there, version="2026-11-01")).status == 404
    elsewhere = path.replace(plane.tenant_id, "00000000-0000-4000-8000-000000000001")
    assert (await plane.arm("POST", elsewhere, body, version="2026-11-01")).status == 404
