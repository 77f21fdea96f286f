import base64
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from arcgate.control.store.models import MachineCertificate
from arcgate.core.snapshot import Kind
from worlds.control_plane import MACHINES, SETTINGS, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio

ARCGATE = "2026-11-01"


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        await made.group()
        yield made


@pytest.fixture(scope="module")
def keys() -> list[str]:
    made = [rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key() for _ in range(2)]
    form = PublicFormat.SubjectPublicKeyInfo
    return [base64.b64encode(key.public_bytes(Encoding.DER, form)).decode("ascii") for key in made]


async def _certificate(plane: ControlPlane, machine_id: str, serial: str) -> None:
    now = plane.clock()
    async with plane.context.store.write() as transaction:
        transaction.session.add(
            MachineCertificate(
                serial=serial, machine_id=machine_id, issued_at=now, not_after=now + timedelta(days=90), revoked_at=None
            )
        )


async def test_a_machine_gets_its_identity_and_an_entry(plane: ControlPlane, keys: list[str]) -> None:
    vm_id = str(uuid.uuid4())
    reply = await plane.machine("server-1", vmId=vm_id.upper(), clientPublicKey=keys[0])
    assert reply.status == 200
    document = reply.json()
    assert document["identity"]["type"] == "SystemAssigned"
    assert document["identity"]["tenantId"] == plane.tenant_id
    assert document["properties"]["vmId"] == vm_id
    assert document["properties"]["provisioningState"] == "Succeeded"
    [entry] = await plane.entries(Kind.MACHINE)
    assert entry.key == vm_id
    assert entry.body == {
        "resourceId": document["id"],
        "tenantId": plane.tenant_id,
        "gateway": None,
        "revokedSerials": [],
    }


async def test_an_update_keeps_what_the_machine_reported(plane: ControlPlane) -> None:
    made = await plane.machine("server-1", agentVersion="1.50", machineFqdn="server-1.inner")
    vm_id = made.json()["properties"]["vmId"]
    body = {"location": "eastus", "tags": {"a": "b"}, "properties": {"osType": "linux", "vmId": vm_id}}
    reply = await plane.arm("PUT", f"{MACHINES}/server-1", body)
    assert reply.json()["properties"]["agentVersion"] == "1.50"
    assert reply.json()["properties"]["machineFqdn"] == "server-1.inner"
    assert reply.json()["identity"] == made.json()["identity"]
    assert reply.json()["tags"] == {"a": "b"}


async def test_what_get_showed_can_be_put_back(plane: ControlPlane, keys: list[str]) -> None:
    await plane.machine("server-1", clientPublicKey=keys[0])
    shown = (await plane.arm("GET", f"{MACHINES}/server-1", query={"$expand": "instanceView"})).json()
    assert (await plane.arm("PUT", f"{MACHINES}/server-1", shown)).status == 200


async def test_another_key_or_vm_id_is_refused_until_the_resource_is_deleted(
    plane: ControlPlane, keys: list[str]
) -> None:
    vm_id = (await plane.machine("server-1", clientPublicKey=keys[0])).json()["properties"]["vmId"]
    stolen = await plane.machine("server-1", vmId=vm_id, clientPublicKey=keys[1])
    assert (stolen.status, stolen.code) == (409, "MachineIdentityConflict")
    other = await plane.machine("server-1", clientPublicKey=keys[0])
    assert (other.status, other.code) == (409, "MachineIdentityConflict")
    patched = await plane.arm("PATCH", f"{MACHINES}/server-1", {"properties": {"clientPublicKey": keys[1]}})
    assert patched.status == 409
    assert (await plane.arm("DELETE", f"{MACHINES}/server-1")).status == 204
    assert (await plane.machine("server-1", vmId=vm_id, clientPublicKey=keys[1])).status == 200


async def test_one_vm_id_is_of_one_machine(plane: ControlPlane) -> None:
    vm_id = (await plane.machine("server-1")).json()["properties"]["vmId"]
    reply = await plane.machine("server-2", vmId=vm_id)
    assert (reply.status, reply.code) == (409, "VmIdInUse")


@pytest.mark.parametrize(
    "properties", [{"vmId": "x"}, {"vmId": 5}, {"clientPublicKey": "x"}, {"clientPublicKey": 5}, {"osType": 5}]
)
async def test_wrong_properties_are_refused(plane: ControlPlane, properties: dict[str, object]) -> None:
    body = {"location": "eastus", "properties": properties}
    assert (await plane.arm("PUT", f"{MACHINES}/server-1", body)).status == 400


async def test_the_status_follows_the_heartbeats(plane: ControlPlane) -> None:
    vm_id = (await plane.machine("server-1")).json()["properties"]["vmId"]

    async def status() -> str:
        return str((await plane.arm("GET", f"{MACHINES}/server-1")).json()["properties"]["status"])

    assert await status() == "AwaitingConnection"
    await plane.heartbeat(vm_id, agentVersion="2.0")
    assert await status() == "Connected"
    shown = (await plane.arm("GET", MACHINES)).json()["value"][0]["properties"]
    assert shown["agentVersion"] == "2.0"
    plane.clock.advance(minutes=16)
    plane_admin = await plane.sign_in(plane.admin.principal)
    reply = await plane.arm("GET", f"{MACHINES}/server-1", caller=plane_admin)
    assert reply.json()["properties"]["status"] == "Disconnected"
    plane.clock.advance(days=91)
    plane_admin = await plane.sign_in(plane.admin.principal)
    reply = await plane.arm("GET", f"{MACHINES}/server-1", caller=plane_admin)
    assert reply.json()["properties"]["status"] == "Expired"


async def test_deletion_revokes_certificates_and_withdraws_the_machine(plane: ControlPlane) -> None:
    vm_id = (await plane.machine("server-1")).json()["properties"]["vmId"]
    await _certificate(plane, vm_id, "ab")
    ticket = plane.context.changes.ticket(f"machine:{vm_id}")
    assert (await plane.arm("DELETE", f"{MACHINES}/server-1")).status == 204
    assert (await plane.arm("DELETE", f"{MACHINES}/server-1")).status == 204
    assert await plane.context.changes.wait(ticket, 0)
    [entry] = await plane.entries(Kind.MACHINE, after=1)
    assert entry.body is None
    assert (await plane.machine("server-1", vmId=vm_id)).status == 200
    [entry] = await plane.entries(Kind.MACHINE)
    assert entry.body is not None
    assert entry.body["revokedSerials"] == ["ab"]


async def test_revocation_publishes_the_serials(plane: ControlPlane) -> None:
    vm_id = (await plane.machine("server-1")).json()["properties"]["vmId"]
    await _certificate(plane, vm_id, "ab")
    await _certificate(plane, vm_id, "cd")
    reply = await plane.arm("POST", f"{MACHINES}/server-1/revokeCertificate", {}, version=ARCGATE)
    assert reply.json() == {"revokedSerials": ["ab", "cd"]}
    [entry] = await plane.entries(Kind.MACHINE)
    assert entry.body is not None
    assert entry.body["revokedSerials"] == ["ab", "cd"]


async def test_settings_that_were_never_set_are_empty_and_not_missing(plane: ControlPlane) -> None:
    await plane.machine()
    reply = await plane.arm("GET", f"{MACHINES}/server-1/providers/microsoft.hybridcompute/Settings/Default")
    assert reply.status == 200
    assert reply.json()["properties"] == {"tenantId": plane.tenant_id, "gatewayProperties": {}}
    assert reply.json()["name"] == "default"


async def test_association_is_published_to_nodes_and_the_machine(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()
    vm_id = (await plane.machine()).json()["properties"]["vmId"]
    ticket = plane.context.changes.ticket(f"machine:{vm_id}")
    reply = await plane.associate("server-1", gateway["id"].upper().replace("SUBSCRIPTIONS", "subscriptions"))
    assert reply.status == 200
    assert reply.json()["properties"]["gatewayProperties"]["gatewayResourceId"] == gateway["id"]
    assert await plane.context.changes.wait(ticket, 0)
    [entry] = await plane.entries(Kind.MACHINE)
    assert entry.body is not None
    assert entry.body["gateway"] == gateway["properties"]["gatewayEndpoint"].split(".")[0]


@pytest.mark.parametrize(
    "body",
    [
        {"properties": {"gatewayProperties": {}}},
        {"properties": {"gatewayProperties": {"gatewayResourceId": ""}}},
        {"properties": {"gatewayProperties": {"gatewayResourceId": None}}},
        {"properties": {"gatewayProperties": None}},
        {"properties": {}},
    ],
)
async def test_every_spelling_of_nothing_detaches(plane: ControlPlane, body: object) -> None:
    gateway = (await plane.gateway()).json()["id"]
    await plane.machine()
    await plane.associate("server-1", gateway)
    reply = await plane.arm("PUT", f"{MACHINES}/server-1/{SETTINGS}", body)
    assert reply.status == 200
    assert reply.json()["properties"]["gatewayProperties"] == {}
    [entry] = await plane.entries(Kind.MACHINE)
    assert entry.body is not None
    assert entry.body["gateway"] is None


async def test_a_patch_that_names_no_gateway_leaves_the_association(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    await plane.machine()
    await plane.associate("server-1", gateway)
    path = f"{MACHINES}/server-1/{SETTINGS}"
    kept = await plane.arm("PATCH", path, {"properties": {}})
    assert kept.json()["properties"]["gatewayProperties"]["gatewayResourceId"] == gateway
    cut = await plane.arm("PATCH", path, {"properties": {"gatewayProperties": {"gatewayResourceId": None}}})
    assert cut.json()["properties"]["gatewayProperties"] == {}


async def test_a_gateway_is_named_by_its_whole_id(plane: ControlPlane) -> None:
    gateway = (await plane.gateway()).json()["id"]
    machine = (await plane.machine()).json()["id"]
    for text in ("gw", f"{gateway}/", f"{gateway}?x", machine, f"/{gateway}"):
        reply = await plane.associate("server-1", text)
        assert (reply.status, reply.code) == (400, "InvalidGatewayResourceId"), text
    missing = await plane.associate("server-1", f"{gateway}-2")
    assert (missing.status, missing.code) == (404, "GatewayNotFound")


async def test_settings_have_one_name(plane: ControlPlane) -> None:
    await plane.machine()
    path = f"{MACHINES}/server-1/providers/Microsoft.HybridCompute/settings/other"
    assert (await plane.arm("GET", path)).status == 404
    assert (await plane.arm("GET", f"{MACHINES}/none/{SETTINGS}")).status == 404


async def test_a_gateway_of_another_tenant_is_answered_like_a_missing_one(plane: ControlPlane) -> None:
    stranger, subscription = await plane.other_tenant()
    group = f"/subscriptions/{subscription}/resourceGroups/theirs"
    await plane.arm("PUT", group, {"location": "eastus"}, caller=stranger, version="2024-11-01")
    place = f"{group}/providers/Microsoft.HybridCompute/gateways"
    made = await plane.arm("PUT", f"{place}/gw", {"location": "eastus"}, caller=stranger)
    assert made.status == 201
    await plane.machine()
    foreign = await plane.associate("server-1", made.json()["id"])
    missing = await plane.associate("server-1", f"{place}/no")
    assert (foreign.status, foreign.code) == (missing.status, missing.code) == (404, "GatewayNotFound")
