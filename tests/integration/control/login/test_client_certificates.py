"""Certificates of service principals: which ones are taken, and which assertions of their keys are believed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from worlds.asgi import Reply
from worlds.control_plane import BASE, ControlPlane, control_plane

pytestmark = pytest.mark.anyio

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def _certificate(key: Key, days: int = 30) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass
class World:
    plane: ControlPlane
    key: rsa.RSAPrivateKey
    client_id: str = ""

    async def create(self, certificate: str) -> Reply:
        scope = f"/subscriptions/{self.plane.subscription_id}"
        body = {"displayName": "x", "role": "Reader", "scope": scope, "certificate": certificate}
        path = f"/tenants/{self.plane.tenant_id}/providers/Arcgate.Network/servicePrincipals"
        return await self.plane.arm("POST", path, body, version="2026-11-01")

    async def sign_in(self, key: Key | None = None, algorithm: str = "RS256", **changes: Any) -> Reply:
        path = f"/{self.plane.tenant_id}/oauth2/v2.0/token"
        now = int(self.plane.clock().timestamp())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": f"{BASE}{path}", "iat": now, "exp": now + 600}
        signer = RSAKey.import_key(_pem(key or self.key).encode())
        content = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        assertion = jwt.encode({"alg": algorithm}, content, signer, algorithms=[algorithm])
        return await self.plane.post_form(
            path,
            grant_type="client_credentials",
            client_id=self.client_id,
            client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            client_assertion=assertion,
            scope=f"{BASE}//.default",
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with control_plane(tmp_path) as plane:
        made = World(plane, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        reply = await made.create(_certificate(made.key))
        assert reply.status == 201, reply.body
        assert "clientSecret" not in reply.json()
        assert len(reply.json()["certificateThumbprint"]) == 40
        made.client_id = reply.json()["clientId"]
        yield made


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
async def test_its_key_signs_in(world: World, algorithm: str) -> None:
    assert (await world.sign_in(algorithm=algorithm)).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://evil.example/token"},
        {"aud": None},
        {"iss": "11111111-2222-3333-4444-555555555555"},
        {"sub": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 4_000_000_000},
        {"nbf": 4_000_000_000},
    ],
)
async def test_an_assertion_for_others_or_of_another_time_is_refused(world: World, changes: dict[str, Any]) -> None:
    reply = await world.sign_in(**changes)
    assert (reply.status, reply.json()["error"]) == (401, "invalid_client")


async def test_another_key_or_algorithm_is_refused(world: World) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await world.sign_in(stranger)).status == 401
    assert (await world.sign_in(algorithm="RS512")).status == 401


async def test_a_secret_does_not_help_a_principal_that_has_a_certificate(world: World) -> None:
    path = f"/{world.plane.tenant_id}/oauth2/v2.0/token"
    for secret in ("", "x"):
        form = {"grant_type": "client_credentials", "client_id": world.client_id, "client_secret": secret}
        assert (await world.plane.post_form(path, **form)).status == 401


async def test_a_certificate_that_has_run_out_signs_nobody_in(world: World) -> None:
    world.plane.clock.advance(days=31)
    assert (await world.sign_in()).status == 401


async def test_a_certificate_with_a_private_key_or_a_weak_or_old_one_is_refused(world: World) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    good = _certificate(world.key)
    for text in (
        "",
        "no certificate",
        good + _pem(world.key),
        good + good,
        good.replace("MII", "AAA", 1),
        _certificate(weak),
        _certificate(curve),
        _certificate(world.key, days=-1),
        "\xe9" + good,
    ):
        reply = await world.create(text)
        assert (reply.status, reply.code) == (400, "InvalidCertificate"), text
