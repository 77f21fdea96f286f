"""Tokens of machines' own identities: what they are good for, and when there are none."""

import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import RSAKey

from arcgate.control.arm.roles import READER
from arcgate.control.store.models import Principal
from worlds.asgi import Reply, ask
from worlds.control_plane import AUDIENCE, MACHINES, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio

KEY = rsa.generate_private_key(65537, 2048)
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()
JOSE_KEY = RSAKey.import_key(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class Machine:
    """A machine resource whose key we have."""

    def __init__(self, plane: ControlPlane, document: dict[str, Any]) -> None:
        self.plane = plane
        self.id: str = document["properties"]["vmId"]
        self.principal_id: str = document["identity"]["principalId"]

    async def ask(self, resource: Any = AUDIENCE) -> Reply:
        issued = int(time.time())
        claims = {"iss": self.id, "sub": self.id, "aud": "arcgate-his", "iat": issued, "exp": issued + 60}
        token = jwt.encode({"alg": "RS256", "kid": self.id}, {**claims, "jti": str(uuid.uuid4())}, JOSE_KEY)
        headers = {"Authorization": f"Bearer {token}", "Host": "eastus.his.arcgate.test"}
        place = f"/machine/{self.id}/token"
        return await ask(self.plane.app, "POST", place, headers=headers, document={"resource": resource})

    async def token(self) -> str:
        return str((await self.ask()).json()["access_token"])

    async def use(self, token: str, path: str = "") -> Reply:
        place = f"/subscriptions/{self.plane.subscription_id}{path}?api-version=2022-12-01"
        return await ask(self.plane.app, "GET", place, headers={"Authorization": f"Bearer {token}"})

    async def assign(self, role_id: str, scope: str = "") -> Reply:
        place = f"{scope}providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        properties = {"roleDefinitionId": role_id, "principalId": self.principal_id}
        return await self.plane.arm("PUT", place, {"properties": properties}, version="2022-04-01")


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


@pytest.fixture
async def machine(plane: ControlPlane) -> Machine:
    return Machine(plane, (await plane.machine(clientPublicKey=PUBLIC_KEY)).json())


async def test_a_machine_gets_a_token_of_its_own_identity(plane: ControlPlane, machine: Machine) -> None:
    reply = await machine.ask()
    document = reply.json()
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    assert (document["resource"], document["token_type"]) == (AUDIENCE, "Bearer")
    assert document["expires_on"] - time.time() == pytest.approx(document["expires_in"], abs=60)
    claims = _claims(document["access_token"])
    assert (claims["oid"], claims["tid"], claims["aud"]) == (machine.principal_id, plane.tenant_id, AUDIENCE)
    assert claims["idtyp"] == "app"
    assert str(uuid.UUID(claims["appid"])) == claims["appid"]
    assert claims["iss"] == f"https://login.arcgate.test/{plane.tenant_id}/v2.0"


async def test_its_roles_decide_what_it_may_do(machine: Machine) -> None:
    token = await machine.token()
    assert (await machine.use(token)).status == 404  # who has no role does not even see the subscription
    assert (await machine.assign(READER.id, "resourceGroups/servers/")).status == 201
    assert (await machine.use(token, "/resourceGroups/servers")).status == 200
    assert (await machine.use(token, "/resourceGroups/others")).status == 403


@pytest.mark.parametrize("resource", ["https://vault.example:8443/a?b", "api://billing", "https://x"])
async def test_the_audience_is_taken_verbatim(machine: Machine, resource: str) -> None:
    document = (await machine.ask(resource)).json()
    assert document["resource"] == _claims(document["access_token"])["aud"] == resource


async def test_a_token_for_somebody_else_is_none_for_us(machine: Machine) -> None:
    token = (await machine.ask("https://vault.example/")).json()["access_token"]
    assert (await machine.use(token)).status == 401


@pytest.mark.parametrize(
    "resource",
    ["", None, 7, ["https://a.example"], "arcgate-his", "http://a.example",
     "8d245ac6-c137-4e67-b51a-70b1c2fd8e0f", "https://",
     "https:///x", "https://a.example/\n", "https://a b", "https://ä.example",
     "https://user@a.example", "https://a/" + "a" * 600],
)  # fmt: skip
async def test_other_audiences_are_refused(machine: Machine, resource: Any) -> None:
    reply = await machine.ask(resource)
    assert (reply.status, reply.code) == (400, "InvalidResource")


async def test_a_deleted_machines_tokens_are_worthless(plane: ControlPlane, machine: Machine) -> None:
    await machine.assign(READER.id)
    token = await machine.token()
    assert (await machine.use(token)).status == 200
    await plane.arm("DELETE", f"{MACHINES}/server-1")
    assert (await machine.use(token)).status == 401
    reply = await machine.ask()
    assert (reply.status, reply.code) == (404, "MachineNotFound")
    async with plane.context.store.read() as session:
        assert await session.get(Principal, machine.principal_id) is None


async def test_a_revoked_machine_has_neither_new_nor_old_tokens(plane: ControlPlane, machine: Machine) -> None:
    await machine.assign(READER.id)
    token = await machine.token()
    await plane.arm("POST", f"{MACHINES}/server-1/revokeCertificate", version="2026-11-01")
    assert (await machine.use(token)).status == 401
    reply = await machine.ask()
    assert (reply.status, reply.code) == (403, "IdentityDisabled")


async def test_nobody_signs_in_as_a_machine(plane: ControlPlane, machine: Machine) -> None:
    client_id = _claims(await machine.token())["appid"]
    reply = await plane.post_form(
        f"/{plane.tenant_id}/oauth2/v2.0/token",
        grant_type="client_credentials", client_id=client_id, client_secret="", scope=f"{AUDIENCE}/.default",
    )  # fmt: skip
    assert (reply.status, reply.json()["error"]) == (401, "invalid_client")


async def test_a_machine_is_no_service_principal(plane: ControlPlane, machine: Machine) -> None:
    place = f"/tenants/{plane.tenant_id}/providers/Arcgate.Network/servicePrincipals"
    reply = await plane.arm("GET", place, version="2026-11-01")
    assert machine.principal_id not in reply.body.decode()


async def test_a_database_of_before_gets_its_machines_principals(plane: ControlPlane, machine: Machine) -> None:
    async with plane.context.store.write() as transaction:
        await transaction.session.execute(sa.delete(Principal).where(Principal.id == machine.principal_id))
    async with plane.context.store.writing_connection() as connection:
        await connection.run_sync(_upgrade_to_0003)
    assert (await machine.ask()).status == 200


def _upgrade_to_0003(connection: sa.Connection) -> None:
    version = import_module("arcgate.control.store.migrations.versions.0003_machine_identities")
    with Operations.context(MigrationContext.configure(connection)):
        version.upgrade()


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
