import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from arcgate.control.arm.roles import OWNER, READER
from worlds.asgi import Reply, ask
from worlds.control_plane import AUDIENCE, PASSWORD, ControlPlane, Identity, control_plane, cookie_of, form_token
from worlds.databases import Database

pytestmark = pytest.mark.anyio

CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
SCOPE = f"{AUDIENCE}/.default offline_access openid profile"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        yield made


async def _begin(plane: ControlPlane, tenant: str = "organizations") -> dict[str, str]:
    reply = await plane.post_form(f"/{tenant}/oauth2/v2.0/devicecode", client_id=CLI, scope=SCOPE)
    assert reply.status == 200
    return dict(reply.json())


async def _poll(plane: ControlPlane, device_code: str, client_id: str = CLI, tenant: str = "organizations") -> Reply:
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code, "code": device_code, "client_id": client_id}
    return await plane.post_form(f"/{tenant}/oauth2/v2.0/token", **form, client_info="1")


async def _user(plane: ControlPlane) -> Identity:
    return await plane.principal(READER, kind="User")


async def _open_page(plane: ControlPlane) -> Reply:
    return await ask(plane.app, "GET", "/devicelogin")


async def _submit(plane: ControlPlane, page: Reply, **fields: str) -> Reply:
    return await plane.post_form("/devicelogin", cookie_of(page), token=form_token(page), **fields)


async def _confirm_page(plane: ControlPlane, user_code: str, user: Identity) -> Reply:
    page = await _submit(plane, await _open_page(plane), step="code", code=user_code)
    assert b'name="password"' in page.body
    return await _submit(plane, page, step="password", user=user.principal.login.upper(), password=PASSWORD)


async def _secret_sign_in(plane: ControlPlane, who: Identity, secret: str = PASSWORD, **more: str) -> Reply:
    form = {"grant_type": "client_credentials", "client_id": who.principal.login, "client_secret": secret}
    fields = {"scope": f"{AUDIENCE}/.default", "client_info": "1", "claims": '{"access_token":{}}', **form, **more}
    return await plane.post_form(f"/{plane.tenant_id}/oauth2/v2.0/token", **fields)


@pytest.mark.parametrize("tenant", ["organizations", "common", "arcgate.test", "TENANT"])
async def test_the_discovery_document_names_the_endpoints(plane: ControlPlane, tenant: str) -> None:
    wanted = plane.tenant_id if tenant == "TENANT" else tenant
    reply = await ask(plane.app, "GET", f"/{wanted}/v2.0/.well-known/openid-configuration")
    document = reply.json()
    base = "https://management.arcgate.test"
    assert document["issuer"].split("/")[3] == plane.tenant_id
    assert document["token_endpoint"] == f"{base}/{wanted}/oauth2/v2.0/token"
    assert document["device_authorization_endpoint"] == f"{base}/{wanted}/oauth2/v2.0/devicecode"
    assert document["authorization_endpoint"]


async def test_an_unknown_tenant_is_refused(plane: ControlPlane) -> None:
    for path in ("v2.0/.well-known/openid-configuration",):
        reply = await ask(plane.app, "GET", f"/other.test/{path}")
        assert reply.status == 400
        assert reply.json()["error"] == "invalid_request"
    assert (await plane.post_form("/other.test/oauth2/v2.0/token", grant_type="client_credentials")).status == 400


async def test_the_published_keys_verify_a_token(plane: ControlPlane) -> None:
    who = await plane.principal(READER)
    token = (await _secret_sign_in(plane, who)).json()["access_token"]
    keys = KeySet.import_key_set((await ask(plane.app, "GET", f"/{plane.tenant_id}/discovery/v2.0/keys")).json())
    claims = jwt.decode(token, keys, algorithms=["RS256"]).claims
    assert claims["aud"] == AUDIENCE
    assert claims["tid"] == plane.tenant_id
    assert claims["oid"] == who.principal.id
    assert claims["appid"] == who.principal.login
    assert {"exp", "nbf", "iat", "jti", "iss"} <= claims.keys()
    assert not any(key.is_private for key in keys.keys)


async def test_a_client_secret_becomes_a_token_that_arm_takes(plane: ControlPlane) -> None:
    who = await plane.principal(READER)
    reply = await _secret_sign_in(plane, who)
    assert reply.json()["token_type"] == "Bearer"
    assert reply.json()["expires_in"] == 3600
    assert "refresh_token" not in reply.json()
    signed_in = Identity(who.principal, reply.json()["access_token"])
    assert (await plane.arm("GET", "/subscriptions", caller=signed_in, version="2022-12-01")).status == 200


async def test_wrong_secrets_and_unknown_clients_are_answered_alike(plane: ControlPlane) -> None:
    who = await plane.principal(READER)
    wrong = await _secret_sign_in(plane, who, "wrong")
    unknown = await _secret_sign_in(plane, who, client_id="00000000-0000-4000-8000-000000000001")
    assert wrong.status == unknown.status == 401
    assert wrong.json() == unknown.json()
    assert wrong.json()["error"] == "invalid_client"
    assert "AADSTS7000215" in wrong.json()["error_description"]


async def test_a_client_of_another_tenant_is_unknown_here(plane: ControlPlane) -> None:
    stranger, _ = await plane.other_tenant()
    assert (await _secret_sign_in(plane, stranger)).status == 401


async def test_guessing_a_secret_is_throttled(plane: ControlPlane) -> None:
    who = await plane.principal(READER)
    for _ in range(10):
        assert (await _secret_sign_in(plane, who, "wrong")).status == 401
    assert (await _secret_sign_in(plane, who)).status == 429
    plane.clock.advance(minutes=6)
    assert (await _secret_sign_in(plane, who)).status == 200


@pytest.mark.parametrize("scope", ["https://graph.microsoft.com/.default", "a/.default b/.default", 'x"y', "x" * 2000])
async def test_scopes_of_others_are_refused(plane: ControlPlane, scope: str) -> None:
    who = await plane.principal(READER)
    reply = await _secret_sign_in(plane, who, scope=scope)
    assert (reply.status, reply.json()["error"]) == (400, "invalid_scope")


async def test_the_audience_is_the_scope_verbatim(plane: ControlPlane) -> None:
    who = await plane.principal(READER)
    for scope, audience in (
        (f"{AUDIENCE}/.default", AUDIENCE),
        (f"{AUDIENCE}.default", AUDIENCE.rstrip("/")),
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("", AUDIENCE),
    ):
        token = (await _secret_sign_in(plane, who, scope=scope)).json()["access_token"]
        body = token.split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(body + "=="))["aud"] == audience


async def test_malformed_forms_are_refused(plane: ControlPlane) -> None:
    path = f"/{plane.tenant_id}/oauth2/v2.0/token"
    for body in (b"", b"grant_type=password", b"grant_type=a&grant_type=b", b"a=%ff", b"\xff", b"&" * 200):
        reply = await ask(plane.app, "POST", path, body=body)
        assert reply.status == 400
        assert reply.json()["error"] in ("invalid_request", "unsupported_grant_type")
    assert (await ask(plane.app, "POST", path, body=b"a=" + b"x" * 100_000)).status == 413


async def test_a_certificate_signs_a_client_in(plane: ControlPlane) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = plane.clock()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    who = await plane.principal(READER)
    async with plane.context.store.write() as transaction:
        row = await transaction.session.merge(who.principal)
        row.certificate = certificate.public_bytes(Encoding.PEM).decode("ascii")
    client = who.principal.login
    endpoint = f"https://management.arcgate.test/{plane.tenant_id}/oauth2/v2.0/token"
    seconds = int(now.timestamp())
    good = {"aud": endpoint, "iss": client, "sub": client, "exp": seconds + 600, "nbf": seconds, "jti": "1"}

    async def sign_in(claims: dict[str, object], signer: rsa.RSAPrivateKey = key) -> int:
        assertion = jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(signer), algorithms=["RS256"])
        form = {"client_assertion_type": ASSERTION, "client_assertion": assertion, "client_secret": ""}
        return (await _secret_sign_in(plane, who, **form)).status

    assert await sign_in(good) == 200
    assert await sign_in({**good, "aud": "https://evil.example/token"}) == 401
    assert await sign_in({**good, "sub": "other"}) == 401
    assert await sign_in({**good, "exp": seconds - 1}) == 401
    assert await sign_in(good, rsa.generate_private_key(public_exponent=65537, key_size=2048)) == 401


async def test_a_device_code_confirmed_in_the_browser_signs_the_device_in(plane: ControlPlane) -> None:
    user = await _user(plane)
    begun = await _begin(plane)
    assert len(begun["user_code"].replace("-", "")) >= 8
    assert begun["user_code"] in begun["message"]
    assert begun["verification_uri"] == "https://management.arcgate.test/devicelogin"
    pending = await _poll(plane, begun["device_code"])
    assert (pending.status, pending.json()["error"]) == (400, "authorization_pending")
    page = await _confirm_page(plane, begun["user_code"].lower().replace("-", " "), user)
    for word in (b"Azure CLI", b"127.0.0.1", plane.tenant_id.encode(), user.principal.login.encode()):
        assert word in page.body
    end = await _submit(plane, page, step="answer", answer="confirm")
    assert b"Signed in" in end.body
    reply = await _poll(plane, begun["device_code"])
    document = reply.json()
    assert {"access_token", "refresh_token", "id_token", "expires_in", "client_info"} <= document.keys()
    info = json.loads(base64.urlsafe_b64decode(document["client_info"] + "=="))
    assert info == {"uid": user.principal.id, "utid": plane.tenant_id}
    claims = json.loads(base64.urlsafe_b64decode(document["id_token"].split(".")[1] + "=="))
    assert claims["preferred_username"] == user.principal.login
    assert (claims["tid"], claims["aud"]) == (plane.tenant_id, CLI)
    signed_in = Identity(user.principal, document["access_token"])
    assert (await plane.arm("GET", "/tenants", caller=signed_in, version="2022-12-01")).status == 200


async def test_a_device_code_is_good_once(plane: ControlPlane) -> None:
    begun = await _begin(plane)
    await _approve(plane, begun["user_code"])
    assert (await _poll(plane, begun["device_code"], client_id="other")).json()["error"] == "expired_token"
    assert (await _poll(plane, begun["device_code"])).status == 200
    replay = await _poll(plane, begun["device_code"])
    assert (replay.status, replay.json()["error"]) == (400, "expired_token")
    assert (await _approve(plane, begun["user_code"])).status == 404


async def _approve(plane: ControlPlane, code: str, who: Identity | None = None) -> Reply:
    path = f"/tenants/{plane.tenant_id}/providers/Arcgate.Network/deviceCodes/{code}/approve"
    return await plane.arm("POST", path, caller=who, version="2026-11-01")


async def test_a_denied_device_code_signs_nobody_in(plane: ControlPlane) -> None:
    user = await _user(plane)
    begun = await _begin(plane)
    page = await _confirm_page(plane, begun["user_code"], user)
    end = await _submit(plane, page, step="answer", answer="deny")
    assert b"Denied" in end.body
    assert (await _poll(plane, begun["device_code"])).json()["error"] == "authorization_declined"


async def test_an_expired_device_code_is_worth_nothing(plane: ControlPlane) -> None:
    begun = await _begin(plane)
    plane.clock.advance(seconds=901)
    assert (await _poll(plane, begun["device_code"])).json()["error"] == "expired_token"
    admin = await plane.sign_in(plane.admin.principal)
    assert (await _approve(plane, begun["user_code"], admin)).status == 404
    page = await _submit(plane, await _open_page(plane), step="code", code=begun["user_code"])
    assert b"no such code" in page.body


async def test_a_code_is_approved_in_its_own_tenant_alone(plane: ControlPlane) -> None:
    stranger, _ = await plane.other_tenant()
    begun = await _begin(plane, plane.tenant_id)
    path = f"/tenants/{stranger.principal.tenant_id}/providers/Arcgate.Network/deviceCodes/{begun['user_code']}/approve"
    assert (await plane.arm("POST", path, caller=stranger, version="2026-11-01")).status == 404
    assert (await _approve(plane, begun["user_code"], stranger)).status == 404
    assert (await _poll(plane, begun["device_code"])).json()["error"] == "authorization_pending"


async def test_guessing_user_codes_is_throttled(plane: ControlPlane) -> None:
    somebody = await plane.principal(OWNER)
    begun = await _begin(plane)
    for _ in range(10):
        assert (await _approve(plane, "BBB-BBB-BBB", somebody)).status == 404
    assert (await _approve(plane, begun["user_code"], somebody)).status == 429


async def test_guessing_passwords_is_throttled_for_the_user(plane: ControlPlane) -> None:
    user = await _user(plane)
    begun = await _begin(plane)
    page = await _submit(plane, await _open_page(plane), step="code", code=begun["user_code"])
    for _ in range(10):
        page = await _submit(plane, page, step="password", user=user.principal.login, password="wrong")
        assert page.status == 400
        assert b"not right" in page.body
    page = await _submit(plane, page, step="password", user=user.principal.login, password=PASSWORD)
    assert page.status == 429


async def test_a_form_without_its_token_or_cookie_does_nothing(plane: ControlPlane) -> None:
    user = await _user(plane)
    begun = await _begin(plane)
    page = await _confirm_page(plane, begun["user_code"], user)
    fields = {"step": "answer", "answer": "confirm"}
    attempts = [
        await plane.post_form("/devicelogin", cookie_of(page), **fields),
        await plane.post_form("/devicelogin", cookie_of(page), token="x", **fields),
        await plane.post_form("/devicelogin", token=form_token(page), **fields),
        await plane.post_form(
            "/devicelogin", {"cookie": "__Host-arcgate-device=00ff"}, token=form_token(page), **fields
        ),
    ]
    assert [reply.status for reply in attempts] == [400] * 4
    early = await _submit(plane, await _open_page(plane), **fields)
    assert early.status == 400
    assert (await _poll(plane, begun["device_code"])).json()["error"] == "authorization_pending"


async def test_the_page_protects_itself(plane: ControlPlane) -> None:
    page = await ask(plane.app, "GET", "/devicelogin?user_code=<script>alert(1)</script>")
    assert b"<script" not in page.body
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    cookie = page.headers["set-cookie"].lower()
    for word in ("httponly", "secure", "samesite=strict"):
        assert word in cookie
    style = await ask(plane.app, "GET", "/devicelogin/style.css")
    assert style.headers["content-type"].startswith("text/css")


async def test_an_unknown_clients_name_is_shown_harmlessly(plane: ControlPlane) -> None:
    user = await _user(plane)
    form = {"client_id": '"><b>\u202e{{7*7}}', "scope": SCOPE}
    begun = (await plane.post_form("/organizations/oauth2/v2.0/devicecode", **form)).json()
    page = await _confirm_page(plane, begun["user_code"], user)
    assert b"An unknown client" in page.body
    assert b"<b>" not in page.body
    assert "\u202e" not in page.body.decode()
    assert b"49" not in page.body.split(b"<dt>From")[0].split(b"<dt>Who asks")[1]


async def _refresh(plane: ControlPlane, token: str, tenant: str = "", client_id: str = CLI) -> Reply:
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id, "scope": SCOPE}
    return await plane.post_form(f"/{tenant or plane.tenant_id}/oauth2/v2.0/token", **form)


async def _first_tokens(plane: ControlPlane) -> dict[str, str]:
    begun = await _begin(plane)
    await _approve(plane, begun["user_code"])
    return dict((await _poll(plane, begun["device_code"])).json())


async def test_refresh_tokens_rotate_and_a_replay_ends_the_family(plane: ControlPlane) -> None:
    first = (await _first_tokens(plane))["refresh_token"]
    second = (await _refresh(plane, first)).json()["refresh_token"]
    assert second != first
    plane.clock.advance(minutes=1)
    replay = await _refresh(plane, first)
    assert (replay.status, replay.json()["error"]) == (400, "invalid_grant")
    assert (await _refresh(plane, second)).status == 400


async def test_refresh_tokens_are_bound_to_their_client_and_tenant(plane: ControlPlane) -> None:
    stranger, _ = await plane.other_tenant()
    token = (await _first_tokens(plane))["refresh_token"]
    assert (await _refresh(plane, token, client_id="other")).status == 400
    assert (await _refresh(plane, token, tenant=stranger.principal.tenant_id)).status == 400
    assert (await _refresh(plane, "unknown")).status == 400
    assert (await _refresh(plane, token)).status == 200


async def test_refresh_tokens_expire(plane: ControlPlane) -> None:
    token = (await _first_tokens(plane))["refresh_token"]
    plane.clock.advance(days=91)
    assert (await _refresh(plane, token)).status == 400


async def test_keys_rotate_and_old_tokens_still_verify(plane: ControlPlane) -> None:
    before = await plane.arm("GET", "/tenants", version="2022-12-01")
    fresh_key = await plane.context.tokens.rotate()
    somebody = await plane.principal(READER)
    header = json.loads(base64.urlsafe_b64decode(somebody.token.split(".")[0] + "=="))
    assert header["kid"] == fresh_key
    assert before.status == (await plane.arm("GET", "/tenants", version="2022-12-01")).status == 200
    assert (await plane.arm("GET", "/tenants", caller=somebody, version="2022-12-01")).status == 200


async def test_a_code_without_a_tenant_takes_that_of_who_confirms(plane: ControlPlane) -> None:
    stranger, _ = await plane.other_tenant()
    begun = await _begin(plane, "organizations")
    path = f"/tenants/{stranger.principal.tenant_id}/providers/Arcgate.Network/deviceCodes/{begun['user_code']}/approve"
    assert (await plane.arm("POST", path, caller=stranger, version="2026-11-01")).status == 200
    claims = (await _poll(plane, begun["device_code"])).json()["id_token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["tid"] == stranger.principal.tenant_id
