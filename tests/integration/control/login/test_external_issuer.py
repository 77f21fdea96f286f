"""An issuer outside signs people in: its tokens are verified with its own keys, and its people have roles here."""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arcgate.control.building import open_control
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from worlds.asgi import Reply, ask
from worlds.authority import Authority
from worlds.control_plane import GATEWAYS, ControlPlane, control_plane
from worlds.databases import Database
from worlds.oidc_issuer import AUDIENCE, OidcIssuer, oidc_issuer
from worlds.waiting import until

pytestmark = pytest.mark.anyio

VERSION = "2026-11-01"


@dataclass
class World:
    plane: ControlPlane
    issuer: OidcIssuer

    async def ask(self, token: str, path: str = "", version: str = "2022-12-01") -> Reply:
        place = path or f"/subscriptions/{self.plane.subscription_id}"
        headers = {"Authorization": f"Bearer {token}"}
        return await ask(self.plane.app, "GET", f"{place}?api-version={version}", headers=headers)

    async def register(self, kind: str = "User", subject: str = "ann", role: str = "Reader") -> Reply:
        scope = f"/subscriptions/{self.plane.subscription_id}"
        body = {"kind": kind, "subject": subject, "displayName": "Ann", "role": role, "scope": scope}
        return await self.plane.arm("POST", self.place, body, version=VERSION)

    @property
    def place(self) -> str:
        return f"/tenants/{self.plane.tenant_id}/providers/Arcgate.Network/externalPrincipals"


@pytest.fixture
async def world(tmp_path: Path, authority: Authority, database: Database) -> AsyncIterator[World]:
    async with oidc_issuer(authority) as issuer:
        identity = {
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "ca_file": authority.file,
            "owner_groups": ["administrators"],
        }
        async with control_plane(tmp_path, database, identity=identity) as plane:
            await plane.group()
            yield World(plane, issuer)


async def test_a_registered_user_has_its_role_and_no_more(world: World) -> None:
    assert (await world.register()).status == 201
    token = world.issuer.token()
    assert (await world.ask(token)).status == 200
    refused = await ask(
        world.plane.app,
        "PUT",
        f"/subscriptions/{world.plane.subscription_id}/{GATEWAYS}/gw?api-version=2026-07-15",
        headers={"Authorization": f"Bearer {token}"},
        document={"location": "eastus"},
    )
    assert refused.code == "AuthorizationFailed"
    assert "'Ann'" in refused.json()["error"]["message"]


async def test_groups_of_the_token_give_roles(world: World) -> None:
    assert (await world.register("Group", "readers")).status == 201
    assert (await world.ask(world.issuer.token(sub="bob", groups=["readers", 5, ""]))).status == 200
    assert (await world.ask(world.issuer.token(sub="bob", groups=["others"]))).code == "SubscriptionNotFound"
    assert (await world.ask(world.issuer.token(sub="bob", groups="readers"))).code == "SubscriptionNotFound"


async def test_owner_groups_own_everything(world: World) -> None:
    token = world.issuer.token(sub="root", groups=["administrators"])
    path = f"/subscriptions/{world.plane.subscription_id}/{GATEWAYS}/gw?api-version=2026-07-15"
    headers = {"Authorization": f"Bearer {token}"}
    made = await ask(world.plane.app, "PUT", path, headers=headers, document={"location": "eastus"})
    assert made.status == 201
    assert made.json()["systemData"]["createdBy"] == "root"


async def test_somebody_unknown_sees_nothing(world: World) -> None:
    token = world.issuer.token(sub="stranger")
    assert (await world.ask(token)).code == "SubscriptionNotFound"
    assert (await world.ask(token, "/subscriptions")).json() == {"value": []}
    # A login of ours in the subject is not that principal.
    assert (await world.ask(world.issuer.token(sub="admin@arcgate.test"))).code == "SubscriptionNotFound"
    assert (await world.ask(world.issuer.token(sub=f"x {world.plane.admin.principal.id}"))).status == 404


async def test_a_removed_user_loses_its_role_at_once(world: World) -> None:
    made = (await world.register()).json()
    token = world.issuer.token()
    assert (await world.ask(token)).status == 200
    assert [one["subject"] for one in (await world.plane.arm("GET", world.place, version=VERSION)).json()["value"]] == [
        "ann"
    ]
    assert (await world.register()).code == "PrincipalExists"
    assert (await world.plane.arm("DELETE", f"{world.place}/{made['id']}", version=VERSION)).status == 204
    assert (await world.ask(token)).code == "SubscriptionNotFound"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "api://another"},
        {"aud": ["api://another", 1]},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": 32_503_680_000},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "x" * 201},
    ],
)
async def test_a_token_that_is_not_for_us_or_not_of_now_is_refused(world: World, claims: dict[str, Any]) -> None:
    await world.register()
    reply = await world.ask(world.issuer.token(**claims))
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")


async def test_a_token_that_the_issuer_did_not_sign_is_refused(world: World) -> None:
    await world.register()
    stranger = world.issuer.new_key(published=False)
    public = world.issuer.keys[0].as_pem(private=False)
    good = world.issuer.token()
    header = _base64(b'{"alg":"HS256"}')
    signed = f"{header}.{good.split('.')[1]}"
    symmetric = f"{signed}.{_base64(hmac.digest(public, signed.encode(), 'sha256'))}"
    forged = {
        "unknown key": world.issuer.token(stranger),
        "our key id": world.issuer.token(stranger, {"kid": world.issuer.keys[0].kid}),
        "a URL of keys": world.issuer.token(stranger, {"jku": "https://evil.example/keys"}),
        "its own key": world.issuer.token(stranger, {"jwk": stranger.as_dict(private=False)}),
        "HS256 with the public key": symmetric,
        "cut": good[:-8],
        "alg none": "eyJhbGciOiJub25lIn0." + good.split(".")[1] + ".",
    }
    for name, token in forged.items():
        assert (await world.ask(token)).status == 401, name


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


async def test_a_new_key_is_found_and_unknown_ones_do_not_make_us_ask_again_and_again(world: World) -> None:
    await world.register()
    assert (await world.ask(world.issuer.token())).status == 200
    asked = len(world.issuer.asked)
    stranger = world.issuer.new_key(published=False)
    for _ in range(5):
        assert (await world.ask(world.issuer.token(stranger))).status == 401
    assert len(world.issuer.asked) == asked
    fresh = world.issuer.new_key()
    assert (await world.ask(world.issuer.token(fresh))).status == 401
    world.plane.clock.advance(seconds=61)
    assert (await world.ask(world.issuer.token(fresh))).status == 200
    assert len(world.issuer.asked) == asked + 2


async def test_known_keys_outlive_an_issuer_that_fails_for_a_while(world: World) -> None:
    await world.register()
    token = world.issuer.token(exp=32_503_680_000)
    assert (await world.ask(token)).status == 200
    world.issuer.status = 500
    world.plane.clock.advance(hours=2)
    assert (await world.ask(token)).status == 200
    world.plane.clock.advance(hours=24)
    assert (await world.ask(token)).status == 401
    world.issuer.status = 200
    world.plane.clock.advance(minutes=2)
    assert (await world.ask(token)).status == 200


async def test_an_issuer_that_is_slow_holds_up_one_request_and_no_others(world: World) -> None:
    await world.register()
    token = world.issuer.token(exp=32_503_680_000)
    assert (await world.ask(token)).status == 200
    asked = len(world.issuer.asked)
    world.plane.clock.advance(hours=2)
    world.issuer.answering.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.ask(token))
        await until(lambda: len(world.issuer.asked) > asked)
        assert (await world.ask(token)).status == 200
        assert not waiting.done()
        world.issuer.answering.set()
    assert waiting.result().status == 200


@pytest.mark.parametrize(
    "overrides",
    [{"issuer": "https://another"}, {"jwks_uri": None}, {"jwks_uri": "http://localhost/keys"}, {"jwks_uri": "x"}],
)
async def test_a_document_that_does_not_fit_is_not_used(world: World, overrides: dict[str, Any]) -> None:
    await world.register()
    world.issuer.overrides = overrides
    assert (await world.ask(world.issuer.token())).status == 401


async def test_our_own_tokens_stay_good_beside_it(world: World) -> None:
    assert (await world.ask(world.plane.admin.token)).status == 200


async def test_an_outsider_cannot_approve_codes_of_the_embedded_issuer(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.issuer.token(groups=['administrators'])}"}
    path = f"/tenants/{world.plane.tenant_id}/providers/Arcgate.Network/deviceCodes/BCD-FGH-JKL/approve"
    reply = await ask(world.plane.app, "POST", f"{path}?api-version={VERSION}", headers=headers)
    assert reply.code == "AuthorizationFailed"


async def test_it_can_take_the_embedded_issuers_place(tmp_path: Path) -> None:
    identity = {"issuer": "https://login.example/t", "audience": "x", "login_endpoint": "https://login.example"}
    async with control_plane(tmp_path, identity={**identity, "embedded": False}) as plane:
        cloud = (await ask(plane.app, "GET", "/metadata/endpoints?api-version=2022-09-01")).json()
        assert cloud["authentication"]["loginEndpoint"] == "https://login.example"
        assert cloud["authentication"]["audiences"] == ["x"]
        assert (await plane.post_form(f"/{plane.tenant_id}/oauth2/v2.0/token", grant_type="x")).status == 404
        assert (await ask(plane.app, "GET", "/devicelogin")).status == 404
        assert (await ask(plane.app, "GET", f"/{plane.tenant_id}/discovery/v2.0/keys")).status == 200


async def test_an_issuer_without_an_audience_stops_the_start(tmp_path: Path) -> None:
    identity = {"issuer": "https://x.example"}
    configuration = Configuration.model_validate({"state_dir": tmp_path / "state", "identity": identity})
    with pytest.raises(StateError, match="audience"):
        async with open_control(configuration):
            pass


async def test_authorities_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    identity = {"issuer": "https://x.example", "audience": "x", "ca_file": tmp_path / "none.pem"}
    configuration = Configuration.model_validate({"state_dir": tmp_path / "state", "identity": identity})
    with pytest.raises(StateError, match="ca_file"):
        async with open_control(configuration):
            pass
