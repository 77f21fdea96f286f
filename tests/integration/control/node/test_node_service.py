"""The node API over a real database: the secret, snapshots and their deltas, certificates, reports."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette

from arcgate.control import node
from arcgate.control.node.secret import load_node_secret
from arcgate.control.store.models import Node
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from arcgate.core.snapshot import Snapshot, parse_document
from worlds.asgi import Reply, ask
from worlds.control_services import ControlServices, control_services
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def services(tmp_path: Path, database: Database) -> AsyncIterator[ControlServices]:
    async with control_services(tmp_path, database) as opened:
        yield opened


@pytest.fixture
def app(services: ControlServices) -> Starlette:
    return services.app(*node.routes(services.context))


@pytest.fixture
def secret(services: ControlServices, app: Starlette) -> str:
    return (services.context.configuration.state_dir / "secrets" / "node.secret").read_text().strip()


async def call(app: Starlette, secret: str, method: str, path: str, document: Any = None) -> Reply:
    return await ask(app, method, f"/node/v1/{path}", headers={"Authorization": f"Bearer {secret}"}, document=document)


async def test_the_secret_is_made_at_the_first_start_and_kept(services: ControlServices, secret: str) -> None:
    path = services.context.configuration.state_dir / "secrets" / "node.secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(secret) >= 32
    assert load_node_secret(services.context.configuration) == secret


async def test_a_secret_that_others_can_read_is_refused(services: ControlServices, secret: str) -> None:
    path = services.context.configuration.state_dir / "secrets" / "node.secret"
    path.chmod(0o644)
    with pytest.raises(StateError) as raised:
        load_node_secret(services.context.configuration)
    assert "chmod 600" in raised.value.remedy
    assert secret not in raised.value.one_line()


@pytest.mark.parametrize("content", ["", "short", "with space " * 5, "\u2603" * 40])
async def test_a_secret_that_is_none_is_refused(services: ControlServices, secret: str, content: str) -> None:
    (services.context.configuration.state_dir / "secrets" / "node.secret").write_text(content)
    with pytest.raises(StateError):
        load_node_secret(services.context.configuration)


def test_a_named_secret_file_is_never_made(tmp_path: Path) -> None:
    named = Configuration.model_validate({"state_dir": tmp_path, "gateway": {"node_secret_file": tmp_path / "other"}})
    with pytest.raises(StateError):
        load_node_secret(named)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic {secret}", "{secret}", "Bearer {secret}x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "snapshot"), ("POST", "audit"), ("POST", "certificate"), ("POST", "heartbeat"), ("GET", "authority")],
)
async def test_nothing_is_told_without_the_secret(
    app: Starlette, secret: str, header: str, method: str, path: str
) -> None:
    headers = {"Authorization": header.format(secret=secret)} if header else {}
    reply = await ask(app, method, f"/node/v1/{path}", headers=headers)
    assert (reply.status, reply.code) == (401, "NodeSecretInvalid")
    assert secret.encode() not in reply.body


async def snapshot_of(app: Starlette, secret: str, base: Snapshot | None = None) -> Snapshot:
    base = base or Snapshot()
    reply = await call(app, secret, "GET", f"snapshot?after={base.revision}")
    if reply.status == 204:
        return base
    return base.apply(*parse_document(reply.json()))


async def test_deltas_lead_to_the_same_snapshot_as_everything_at_once(
    services: ControlServices, app: Starlette, secret: str
) -> None:
    follower = await snapshot_of(app, secret)
    gateway = await services.add_gateway("*")
    machine = await services.add_machine(gateway=gateway)
    follower = await snapshot_of(app, secret, follower)
    gone = await services.add_machine(gateway=gateway)
    endpoints = await services.add_endpoint_set("own", "10.0.0.0/8")
    follower = await snapshot_of(app, secret, follower)
    assert gone.id in follower.machines
    await services.remove_machine(gone)
    await services.remove_endpoint_set(endpoints)
    await services.associate(machine, None)
    await services.change_features(gateway, "ArcCore")
    follower = await snapshot_of(app, secret, follower)
    fresh = await snapshot_of(app, secret)
    assert follower.revision == fresh.revision
    assert follower.cloud == fresh.cloud
    assert dict(follower.machines) == dict(fresh.machines)
    assert dict(follower.gateways) == dict(fresh.gateways)
    assert dict(follower.endpoint_sets) == dict(fresh.endpoint_sets)
    assert fresh.machines[machine.id].gateway is None
    assert gone.id not in fresh.machines


async def test_a_node_without_news_is_told_so(services: ControlServices, app: Starlette, secret: str) -> None:
    revision = (await call(app, secret, "GET", "snapshot")).json()["revision"]
    assert (await call(app, secret, "GET", f"snapshot?after={revision}")).status == 204
    assert (await call(app, secret, "GET", f"snapshot?after={revision}&wait=1")).status == 204


async def test_a_waiting_node_hears_of_a_change(services: ControlServices, app: Starlette, secret: str) -> None:
    revision = (await call(app, secret, "GET", "snapshot")).json()["revision"]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(call(app, secret, "GET", f"snapshot?after={revision}&wait=25"))
        while not services.context.changes.waiters:  # noqa: ASYNC110 - nothing announces that somebody waits
            await asyncio.sleep(0.001)
        await services.add_gateway(prefix="new")
        document = (await task).json()
    assert document["revision"] > revision
    assert [entry["key"] for entry in document["entries"]] == ["new"]


async def test_a_node_ahead_of_a_restored_database_gets_everything(
    services: ControlServices, app: Starlette, secret: str
) -> None:
    await services.add_gateway()
    everything = (await call(app, secret, "GET", "snapshot")).json()
    assert (await call(app, secret, "GET", "snapshot?after=99999&wait=25")).json() == {**everything, "reset": True}


async def test_a_node_gets_a_certificate_for_the_gateways_names(
    services: ControlServices, app: Starlette, secret: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evil.test")])
    names = x509.SubjectAlternativeName([x509.DNSName("evil.test")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    document = (await call(app, secret, "POST", "certificate", {"csr": pem})).json()
    leaf = x509.load_pem_x509_certificate(document["certificate"].encode())
    leaf.verify_directly_issued_by(services.context.authority.servers.certificate)
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert held.get_values_for_type(x509.DNSName) == ["*.gw.arcgate.test"]
    assert document["chain"] == services.context.authority.ca_pem


@pytest.mark.parametrize("document", [{}, {"csr": 1}, {"csr": "x"}, []])
async def test_a_body_without_request_gets_no_certificate(app: Starlette, secret: str, document: Any) -> None:
    assert (await call(app, secret, "POST", "certificate", document)).status == 400


async def test_nodes_learn_who_signs_machines(services: ControlServices, app: Starlette, secret: str) -> None:
    document = (await call(app, secret, "GET", "authority")).json()
    assert document == {"machineAuthorities": services.context.authority.machine_authorities_pem}


async def test_a_nodes_last_report_is_kept(services: ControlServices, app: Starlette, secret: str) -> None:
    report = {"node": "gw-1", "version": "0.1.0", "revision": 4, "openTunnels": 2, "listen": ["0.0.0.0:443"]}
    assert (await call(app, secret, "POST", "heartbeat", report)).json() == {}
    assert (await call(app, secret, "POST", "heartbeat", {**report, "openTunnels": 7})).status == 200
    async with services.context.store.read() as session:
        row = await session.get(Node, "gw-1")
    assert row is not None
    assert (row.open_tunnels, row.revision, row.listen) == (7, 4, ["0.0.0.0:443"])


@pytest.mark.parametrize(
    "change",
    [{"node": ""}, {"node": None}, {"node": "a b"}, {"revision": -1}, {"openTunnels": "2"}, {"listen": [1]}],
)
async def test_a_report_of_wrong_types_is_refused(app: Starlette, secret: str, change: dict[str, Any]) -> None:
    report = {"node": "gw-1", "version": "0.1.0", "revision": 4, "openTunnels": 2, "listen": []}
    assert (await call(app, secret, "POST", "heartbeat", {**report, **change})).status == 400
