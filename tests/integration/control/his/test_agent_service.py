"""The agent service over a real database: certificates, heartbeats, goals and the waiting for them."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import update
from starlette.applications import Starlette
from structlog.testing import capture_logs

from arcgate.control import his
from arcgate.control.authority import serial_of
from arcgate.control.store.models import Heartbeat, MachineCertificate, MachineRow
from worlds.asgi import Reply, ask
from worlds.control_services import ControlServices, control_services
from worlds.databases import Database

pytestmark = pytest.mark.anyio

KEY = rsa.generate_private_key(65537, 2048)
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()
JOSE_KEY = RSAKey.import_key(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def assertion(machine_id: str, skew: int = 0) -> str:
    issued = int(time.time()) + skew
    claims = {
        "iss": machine_id,
        "sub": machine_id,
        "aud": "arcgate-his",
        "iat": issued,
        "exp": issued + 60,
        "jti": str(uuid4()),
    }
    return jwt.encode({"alg": "RS256", "kid": machine_id}, claims, JOSE_KEY)


def request_pem(key: rsa.RSAPrivateKey = KEY) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "not what it will be")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


@pytest.fixture
async def services(tmp_path: Path, database: Database) -> AsyncIterator[ControlServices]:
    async with control_services(tmp_path, database) as opened:
        yield opened


@pytest.fixture
def app(services: ControlServices) -> Starlette:
    return services.app(*his.routes(services.context))


async def call(app: Starlette, machine: MachineRow, method: str, action: str, document: Any = None) -> Reply:
    headers = {"Authorization": f"Bearer {assertion(machine.id)}"}
    return await ask(app, method, f"/machine/{machine.id}/{action}", headers=headers, document=document)


async def test_discovery_tells_the_regions_endpoint(app: Starlette) -> None:
    reply = await ask(app, "GET", "/discovery?location=eastus&api-version=2.1")
    assert reply.json() == {"region": "eastus", "endpoint": "https://eastus.his.arcgate.test"}
    assert (await ask(app, "GET", "/discovery?location=East%20US")).status == 200


async def test_discovery_of_an_unknown_location_names_the_known_ones(app: Starlette) -> None:
    reply = await ask(app, "GET", "/discovery?location=atlantis")
    assert (reply.status, reply.code) == (400, "LocationNotAvailable")
    assert "eastus" in reply.json()["error"]["message"]


async def test_a_machine_that_came_by_an_extra_name_keeps_to_it(tmp_path: Path, database: Database) -> None:
    settings = {"cloud": {"domain": "arcgate.test", "extra_names": ["localhost"], "public_port": 8443}}
    async with control_services(tmp_path / "extra", database, **settings) as services:
        app = services.app(*his.routes(services.context))
        reply = await ask(app, "GET", "/discovery?location=local", headers={"Host": "localhost:8443"})
        assert reply.json()["endpoint"] == "https://localhost:8443"
        reply = await ask(app, "GET", "/discovery?location=local", headers={"Host": "evil.test"})
        assert reply.json()["endpoint"] == "https://local.his.arcgate.test:8443"


async def test_a_machine_gets_a_certificate_for_its_own_key(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    reply = await call(app, machine, "POST", "certificate", {"csr": request_pem()})
    assert reply.status == 200
    document = reply.json()
    leaf = x509.load_pem_x509_certificate(document["certificate"].encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(document["chain"].encode()))
    assert leaf.public_key() == KEY.public_key()
    assert document["resourceId"] == machine.resource_id
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"urn:arcgate:machine:{machine.tenant_id}:{machine.id}"
    ]
    async with services.context.store.read() as session:
        assert await session.get(MachineCertificate, serial_of(leaf)) is not None


async def test_a_request_for_another_key_gets_no_certificate(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    other = rsa.generate_private_key(65537, 2048)
    reply = await call(app, machine, "POST", "certificate", {"csr": request_pem(other)})
    assert (reply.status, reply.code) == (400, "CertificateRequestInvalid")


@pytest.mark.parametrize("document", [{}, {"csr": None}, {"csr": 5}, {"csr": "x"}, [], "x"])
async def test_a_body_without_request_is_refused(services: ControlServices, app: Starlette, document: Any) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    assert (await call(app, machine, "POST", "certificate", document)).status == 400


async def test_a_revoked_machine_gets_no_further_certificate(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    assert (await call(app, machine, "POST", "certificate", {"csr": request_pem()})).status == 200
    async with services.context.store.write() as transaction:
        await transaction.session.execute(update(MachineCertificate).values(revoked_at=services.clock()))
    reply = await call(app, machine, "POST", "certificate", {"csr": request_pem()})
    assert (reply.status, reply.code) == (403, "CertificateRevoked")


async def test_a_machine_that_wants_certificates_all_day_is_held_back(
    services: ControlServices, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcgate.control.his.issuing.MOST_CERTIFICATES", 2)
    machine = await services.add_machine(PUBLIC_KEY)
    statuses = [(await call(app, machine, "POST", "certificate", {"csr": request_pem()})).status for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_who_signs_with_another_key_is_refused(services: ControlServices, app: Starlette) -> None:
    other = rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    machine = await services.add_machine(base64.b64encode(other).decode())
    reply = await call(app, machine, "GET", "goal")
    assert (reply.status, reply.code) == (401, "AssertionInvalid")


@pytest.mark.parametrize("public_key", ["", "rubbish"])
async def test_a_machine_without_a_usable_key_is_refused(
    services: ControlServices, app: Starlette, public_key: str
) -> None:
    machine = await services.add_machine(public_key)
    assert (await call(app, machine, "GET", "goal")).status == 401


async def test_one_machines_assertion_does_not_speak_for_another(services: ControlServices, app: Starlette) -> None:
    one, other = await services.add_machine(PUBLIC_KEY), await services.add_machine(PUBLIC_KEY)
    headers = {"Authorization": f"Bearer {assertion(one.id)}"}
    assert (await ask(app, "GET", f"/machine/{other.id}/goal", headers=headers)).status == 401


@pytest.mark.parametrize("machine_id", ["5d3f7b1e-94a4-4c39-9b55-0d1c6a2e8f70", "x", "..", "%00", "a" * 300])
async def test_an_unknown_machine_is_not_found(app: Starlette, machine_id: str) -> None:
    headers = {"Authorization": f"Bearer {assertion('x')}"}
    reply = await ask(app, "GET", f"/machine/{machine_id}/goal", headers=headers)
    assert (reply.status, reply.code) == (404, "MachineNotFound")


async def test_a_machine_without_assertion_is_refused(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    reply = await ask(app, "GET", f"/machine/{machine.id}/goal")
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_wrong_clock_is_told_the_right_time(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    headers = {"Authorization": f"Bearer {assertion(machine.id, skew=-4000)}"}
    reply = await ask(app, "GET", f"/machine/{machine.id}/goal", headers=headers)
    assert (reply.status, reply.code) == (409, "ClockSkew")
    assert reply.json()["error"]["serverTime"].endswith("Z")


async def test_an_assertion_counts_once(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    headers = {"Authorization": f"Bearer {assertion(machine.id)}"}
    first = await ask(app, "GET", f"/machine/{machine.id}/goal", headers=headers)
    second = await ask(app, "GET", f"/machine/{machine.id}/goal", headers=headers)
    assert (first.status, second.status) == (200, 401)


REPORT = {
    "agentVersion": "0.1.0",
    "status": "Connected",
    "osType": "linux",
    "osName": "Debian\r\n\x1b[31mred",
    "osVersion": "12",
    "machineFqdn": "server.example",
    "goalRevision": 3,
    "connectionType": "gateway",
    "upstreamProxy": "http://proxy:3128",
    "services": {"himds": "running"},
    "certificateSerial": "ab",
    "somethingNew": {"is": "ignored"},
}


async def test_a_heartbeat_is_kept_on_one_line_and_answered(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    reply = await call(app, machine, "POST", "heartbeat", REPORT)
    goal = (await call(app, machine, "GET", "goal")).json()
    document = reply.json()
    assert document["interval"] == 300
    assert document["goalRevision"] == goal["revision"]
    assert document["serverTime"].endswith("Z")
    async with services.context.store.read() as session:
        kept = await session.get(Heartbeat, machine.id)
    assert kept is not None
    assert kept.body["osName"] == "Debian\\r\\n\\x1b[31mred"
    assert kept.body["services"] == {"himds": "running"}
    assert "somethingNew" not in kept.body


@pytest.mark.parametrize(
    "change",
    [
        {"agentVersion": 5},
        {"goalRevision": "3"},
        {"goalRevision": -1},
        {"goalRevision": True},
        {"services": []},
        {"services": {"a": 1}},
        {"services": {str(number): "x" for number in range(51)}},
    ],
)
async def test_a_heartbeat_of_wrong_types_is_refused(
    services: ControlServices, app: Starlette, change: dict[str, Any]
) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    reply = await call(app, machine, "POST", "heartbeat", {**REPORT, **change})
    assert reply.status == 400
    assert reply.json()["error"]["target"] in change


async def test_a_heartbeat_of_more_than_64_kib_is_refused(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    assert (await call(app, machine, "POST", "heartbeat", {"osName": "x" * 70_000})).status == 413


async def test_the_goal_follows_association_features_and_endpoint_sets(
    services: ControlServices, app: Starlette
) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    gateway = await services.add_gateway("*", bypass=("login.microsoftonline.com",))
    revisions = []

    async def goal() -> dict[str, Any]:
        document = (await call(app, machine, "GET", "goal")).json()
        revisions.append(document["revision"])
        return dict(document)

    assert (await goal())["gateway"] is None
    await services.associate(machine, gateway)
    associated = await goal()
    assert associated["gateway"]["host"] == "abc.gw.arcgate.test"
    assert associated["bypass"] == ["login.microsoftonline.com"]
    own = await services.add_endpoint_set("own", "10.0.0.0/8:1433")
    assert "10.0.0.0/8:1433" in (await goal())["allowed"]
    await services.remove_endpoint_set(own)
    assert "10.0.0.0/8:1433" not in (await goal())["allowed"]
    await services.change_features(gateway, "ArcCore")
    assert len((await goal())["allowed"]) < len(associated["allowed"])
    await services.associate(machine, None)
    assert (await goal())["gateway"] is None
    assert revisions == sorted(set(revisions))


async def test_a_goal_that_is_known_already_is_not_told_again(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    goal = (await call(app, machine, "GET", "goal?after=0&wait=0")).json()
    assert (await call(app, machine, "GET", f"goal?after={goal['revision']}&wait=0")).status == 204


async def test_another_machines_change_is_no_news(services: ControlServices, app: Starlette) -> None:
    machine, other = await services.add_machine(PUBLIC_KEY), await services.add_machine(PUBLIC_KEY)
    goal = (await call(app, machine, "GET", "goal")).json()
    await services.associate(other, await services.add_gateway())
    assert (await call(app, machine, "GET", f"goal?after={goal['revision']}")).status == 204


async def test_a_revision_from_before_a_restore_gets_the_goal_at_once(
    services: ControlServices, app: Starlette
) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    reply = await call(app, machine, "GET", "goal?after=999999&wait=25")
    assert reply.status == 200
    assert reply.json()["revision"] < 999999


@contextlib.asynccontextmanager
async def waiting(services: ControlServices, app: Starlette, machine: MachineRow) -> AsyncIterator[asyncio.Task[Reply]]:
    """A long poll that has found no news and waits."""
    goal = (await call(app, machine, "GET", "goal")).json()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(call(app, machine, "GET", f"goal?after={goal['revision']}&wait=25"))
        while not services.context.changes.waiters:  # noqa: ASYNC110 - nothing announces that somebody waits
            await asyncio.sleep(0.001)
        yield task


async def test_a_waiting_machine_hears_of_its_association(services: ControlServices, app: Starlette) -> None:
    machine, gateway = await services.add_machine(PUBLIC_KEY), await services.add_gateway()
    async with waiting(services, app, machine) as task:
        await services.associate(machine, gateway)
        reply = await task
    assert reply.json()["gateway"]["id"] == gateway.resource_id


async def test_a_waiting_machine_hears_of_its_gateways_features(services: ControlServices, app: Starlette) -> None:
    gateway = await services.add_gateway("ArcCore")
    machine = await services.add_machine(PUBLIC_KEY, gateway)
    async with waiting(services, app, machine) as task:
        await services.change_features(gateway, "*")
        reply = await task
    assert len(reply.json()["allowed"]) > 100


async def test_a_waiting_machine_hears_of_endpoint_sets(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY, await services.add_gateway())
    async with waiting(services, app, machine) as task:
        await services.add_endpoint_set("own", "db.example:5432")
        reply = await task
    assert "db.example:5432" in reply.json()["allowed"]


async def test_a_waiting_machine_sleeps_through_others_changes(services: ControlServices, app: Starlette) -> None:
    machine, other = await services.add_machine(PUBLIC_KEY), await services.add_machine(PUBLIC_KEY)
    gateway = await services.add_gateway()
    async with waiting(services, app, machine) as task:
        await services.associate(other, gateway)
        await asyncio.sleep(0)
        assert not task.done()
        await services.associate(machine, gateway)
        assert (await task).status == 200


async def test_a_machine_deleted_while_it_waits_is_told(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    async with waiting(services, app, machine) as task:
        await services.remove_machine(machine)
        reply = await task
    assert (reply.status, reply.code) == (404, "MachineNotFound")


async def test_a_shutdown_ends_the_wait_at_once(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    async with waiting(services, app, machine) as task:
        services.context.changes.close()
        assert (await task).status == 204


async def test_a_wait_ends_without_news(services: ControlServices, app: Starlette) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    goal = (await call(app, machine, "GET", "goal")).json()
    assert (await call(app, machine, "GET", f"goal?after={goal['revision']}&wait=1")).status == 204


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=٣", "wait=1.5", "after=" + "9" * 40, "wait=99999"])
async def test_a_malformed_wait_is_refused(services: ControlServices, app: Starlette, query: str) -> None:
    machine = await services.add_machine(PUBLIC_KEY)
    headers = {"Authorization": f"Bearer {assertion(machine.id)}"}
    pairs = dict([query.split("=")])
    assert (await ask(app, "GET", f"/machine/{machine.id}/goal", query=pairs, headers=headers)).status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\0", b'{"message": "line\nbreak"}', b"x" * 65_536])
async def test_a_report_of_any_bytes_is_taken(app: Starlette, body: bytes) -> None:
    assert (await ask(app, "PUT", "/log", body=body)).status == 200


async def test_a_report_is_logged_on_one_line(app: Starlette) -> None:
    with capture_logs() as lines:
        await ask(app, "PUT", "/log", body=b"one\r\ntwo\x1b[2J" + "\u202e\u2028".encode())
    assert [line["report"] for line in lines] == ["one two\\x1b[2J\\u202e"]


async def test_a_report_of_more_than_64_kib_is_refused(app: Starlette) -> None:
    assert (await ask(app, "PUT", "/log", body=b"x" * 65_537)).status == 413


async def test_too_many_reports_are_turned_away_until_time_has_passed(
    services: ControlServices, app: Starlette
) -> None:
    statuses = {(await ask(app, "PUT", "/log", body=b"x")).status for _ in range(70)}
    assert statuses == {200, 429}
    services.clock.ahead = timedelta(seconds=60)
    assert (await ask(app, "PUT", "/log", body=b"x")).status == 200
