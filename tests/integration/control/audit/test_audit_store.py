"""The audit store over a real database: each record once, found by every filter, until its time is over."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from starlette.applications import Starlette

from arcgate.control import audit
from arcgate.control.arm.roles import ONBOARDING, READER
from arcgate.control.audit.ingest import keep_records
from arcgate.control.audit.retention import sweep
from arcgate.control.failures import ApiError
from arcgate.control.store.models import AuditRow, Node, Principal, RoleAssignment
from arcgate.core.audit import AuditRecord, Event
from worlds.asgi import Reply, ask
from worlds.control_services import SUBSCRIPTION, TENANT, ControlServices, control_services
from worlds.databases import Database

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
MACHINE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/servers/providers/Microsoft.HybridCompute/machines/Web_1"


def record(event: Event = Event.START, number: int = 0, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "event": event,
        "tunnel_id": f"tunnel-{number}",
        "correlation_id": f"correlation-{number}",
        "time": (START + timedelta(seconds=number)).isoformat(),
        "node": "gw-1",
        "machine_id": "33333333-3333-4333-8333-333333333333",
        "machine": MACHINE,
        "tenant_id": TENANT,
        "subscription_id": SUBSCRIPTION,
        "gateway": "",
        "client_address": "10.0.0.1",
        "target": "management.azure.com:443",
        "resolved_address": "20.0.0.1",
        "feature": "ArcCore",
        "rule": "management.azure.com",
        "verdict": "refused" if event is Event.REFUSAL else "allowed",
        "reason": "feature",
        "detail": "",
        "policy_revision": 5,
    }
    return AuditRecord(**{**usual, **changes}).to_json()


@pytest.fixture
async def services(tmp_path: Path, database: Database) -> AsyncIterator[ControlServices]:
    async with control_services(tmp_path, database) as opened:
        yield opened


@pytest.fixture
def app(services: ControlServices) -> Starlette:
    return services.app(*audit.routes(services.context))


async def token_of(services: ControlServices, role_id: str, scope: str) -> str:
    principal = Principal(
        id=str(uuid4()),
        tenant_id=TENANT,
        kind="User",
        login=f"{uuid4().hex}@test.example",
        display_name="Test",
        secret_hash="",
        created_at=services.clock(),
    )
    async with services.context.store.write() as transaction:
        transaction.session.add(principal)
        await transaction.session.flush()
        transaction.session.add(
            RoleAssignment(
                id=str(uuid4()),
                tenant_id=TENANT,
                principal_id=principal.id,
                role_id=role_id,
                scope=scope,
                created_at=services.clock(),
            )
        )
    base = "https://login.arcgate.test"
    return await services.context.tokens.access_token(base, principal, "https://management.arcgate.test", "test")


@pytest.fixture
async def token(services: ControlServices) -> str:
    return await token_of(services, READER.id, f"/subscriptions/{SUBSCRIPTION}")


async def find(app: Starlette, token: str, what: str = "auditRecords", **filters: str) -> Reply:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Arcgate.Network/{what}"
    query = {"api-version": "2026-11-01", **filters}
    return await ask(app, "GET", path, query=query, headers={"Authorization": f"Bearer {token}"})


async def tunnels(app: Starlette, token: str, what: str = "auditRecords", **filters: str) -> list[str]:
    reply = await find(app, token, what, **filters)
    assert reply.status == 200, reply.body
    return [one["tunnelId"] for one in reply.json()["value"]]


async def keep(services: ControlServices, *records: dict[str, Any]) -> dict[str, Any]:
    return await keep_records(services.context.store, list(records))


async def test_a_record_sent_twice_is_kept_once(services: ControlServices, app: Starlette, token: str) -> None:
    batch = [record(Event.START), record(Event.END, bytes_up=1, bytes_down=2, duration=0.5)]
    assert await keep(services, *batch) == {"accepted": 2}
    assert await keep(services, *batch, *batch) == {"accepted": 4}
    assert await tunnels(app, token) == ["tunnel-0", "tunnel-0"]


async def test_the_answer_holds_the_record_as_the_gateway_wrote_it(
    services: ControlServices, app: Starlette, token: str
) -> None:
    sent = record(Event.END, bytes_up=10, bytes_down=2**40, duration=1.25)
    await keep(services, {**sent, "sequence": 3, "spool": "spool-1"})
    assert (await find(app, token)).json() == {"value": [sent]}


async def test_a_tunnel_is_open_until_its_end_has_come(services: ControlServices, app: Starlette, token: str) -> None:
    await keep(services, record(number=1), record(number=2), record(Event.REFUSAL, 3))
    assert await tunnels(app, token, "openTunnels") == ["tunnel-2", "tunnel-1"]
    await keep(services, record(Event.END, 1))
    assert await tunnels(app, token, "openTunnels") == ["tunnel-2"]


async def test_an_end_that_comes_before_its_start_leaves_nothing_open(
    services: ControlServices, app: Starlette, token: str
) -> None:
    await keep(services, record(Event.END, 1))
    await keep(services, record(Event.START, 1))
    assert await tunnels(app, token, "openTunnels") == []


async def test_a_lost_nodes_tunnels_end_by_what_its_spool_tells_later(
    services: ControlServices, app: Starlette, token: str
) -> None:
    await keep(services, record(number=1))
    await keep(services, record(Event.END, 1, reason="node_lost"))
    assert await tunnels(app, token, "openTunnels") == []


async def test_more_tunnels_than_a_statement_takes_are_kept(services: ControlServices) -> None:
    starts = [record(number=number) for number in range(1200)]
    ends = [record(Event.END, number) for number in range(1200)]
    assert await keep(services, *starts, *ends) == {"accepted": 2400}
    async with services.context.store.read() as session:
        still_open = select(func.count()).where(AuditRow.is_open.is_(True))
        assert (await session.execute(still_open)).scalar_one() == 0


@pytest.mark.parametrize("documents", [None, {}, "x", [{}] * 10_001])
async def test_what_is_no_batch_is_refused(services: ControlServices, documents: Any) -> None:
    with pytest.raises(ApiError) as raised:
        await keep_records(services.context.store, documents)
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "x",
        {},
        {**record(), "event": "other"},
        {**record(), "time": "yesterday"},
        {**record(), "time": "2026-13-01T00:00:00Z"},
        {**record(), "time": "2026-11-01T00:00:00"},
        {**record(), "target": None},
        {**record(), "tunnelId": ""},
        {**record(), "tunnelId": "x" * 101},
        {**record(), "machineId": "x" * 37},
        {**record(), "bytesUp": -1},
        {**record(), "bytesUp": "1"},
        {**record(), "policyRevision": None},
        {**record(), "policyRevision": 2**63},
        {**record(), "duration": True},
        {**record(), "sequence": -1},
        {**record(), "spool": 5},
    ],
)
async def test_one_unreadable_record_does_not_hold_back_the_others(services: ControlServices, broken: Any) -> None:
    answer = await keep(services, record(number=1), broken, record(number=2))
    assert answer["accepted"] == 2
    assert [one["index"] for one in answer["rejected"]] == [1]


async def test_peers_text_stays_on_one_line(services: ControlServices, app: Starlette, token: str) -> None:
    hostile = 'a\r\nb\x1b[2J\u2028\u202e"\x00' + "x" * 1000
    document = {**record(), "target": hostile, "detail": hostile, "correlationId": hostile}
    assert await keep(services, document) == {"accepted": 1}
    shown = (await find(app, token)).json()["value"][0]
    assert shown["target"].startswith('a\\r\\nb\\x1b[2J\\u2028\\u202e"\\x00x')
    assert len(shown["target"]) == 300
    assert all(one.isprintable() for one in shown["target"] + shown["detail"] + shown["correlationId"])


@pytest.fixture
async def several(services: ControlServices) -> None:
    other = MACHINE.replace("Web_1", "web-12")
    await keep(
        services,
        record(number=1),
        record(Event.END, 1),
        record(Event.REFUSAL, 2, target="db%_1.example.com:5432", verdict="refused"),
        record(number=3, machine=other, machine_id="44444444-4444-4444-8444-444444444444"),
        record(number=4, subscription_id="55555555-5555-4555-8555-555555555555"),
    )


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [3, 2, 1, 1]),
        ({"machine": "web_1"}, [2, 1, 1]),
        ({"machine": "WEB_1"}, [2, 1, 1]),
        ({"machine": "web-12"}, [3]),
        ({"machine": "eb_1"}, []),
        ({"machine": "%"}, []),
        ({"machine": MACHINE.upper()}, [2, 1, 1]),
        ({"machine": "44444444-4444-4444-8444-444444444444"}, [3]),
        ({"target": "azure"}, [3, 1, 1]),
        ({"target": "AZURE.com"}, [3, 1, 1]),
        ({"target": "%_1"}, [2]),
        ({"target": "%"}, [2]),
        ({"target": "_"}, [2]),
        ({"target": "*.azure.com:443"}, [3, 1, 1]),
        ({"target": "azure*"}, []),
        ({"target": "'; DROP TABLE audit_records; --"}, []),
        ({"target": "\\"}, []),
        ({"verdict": "refused"}, [2]),
        ({"verdict": "allowed"}, [3, 1, 1]),
        ({"event": "end"}, [1]),
        ({"event": "refusal"}, [2]),
        ({"since": "2026-11-01T12:00:02Z"}, [3, 2]),
        ({"since": "2026-11-01T13:00:02+01:00"}, [3, 2]),
        ({"until": "2026-11-01T12:00:02Z"}, [1, 1]),
        ({"correlationId": "correlation-2"}, [2]),
        ({"correlationId": "correlation"}, []),
        ({"event": "start", "machine": "web-12", "target": "azure"}, [3]),
    ],
)
async def test_filters_find_what_they_name_and_nothing_else(
    app: Starlette, token: str, filters: dict[str, str], expected: list[int]
) -> None:
    assert await tunnels(app, token, **filters) == [f"tunnel-{number}" for number in expected]


@pytest.mark.parametrize(
    "filters",
    [
        {"verdict": "maybe"},
        {"event": "x"},
        {"since": "yesterday"},
        {"until": "2026-11-01"},
        {"$top": "0"},
        {"$top": "-1"},
        {"$top": "x"},
        {"$top": "1001"},
        {"$skipToken": "x"},
        {"$skipToken": "AAAA"},
        {"$skipToken": "OTk5OTk5OTk5OTk5OTk5OTk5IDE"},
        {"target": "x" * 501},
        {"target": "a\0b"},
    ],
)
async def test_a_malformed_filter_is_named(app: Starlette, token: str, filters: dict[str, str]) -> None:
    reply = await find(app, token, **filters)
    assert (reply.status, reply.code) == (400, "InvalidQueryParameter")
    assert next(iter(filters)) in reply.json()["error"]["message"]


async def test_pages_hold_every_record_once_while_new_ones_arrive(
    services: ControlServices, app: Starlette, token: str
) -> None:
    same_time = START.isoformat()
    await keep(services, *(record(number=number, time=same_time) for number in range(7)))
    found: list[str] = []
    reply = await find(app, token, **{"$top": "3", "event": "start"})
    for number in range(10, 13):
        document = reply.json()
        found += [one["tunnelId"] for one in document["value"]]
        if "nextLink" not in document:
            break
        await keep(services, record(number=number))
        link = urlsplit(document["nextLink"])
        assert link.netloc == "management.arcgate.test"
        reply = await ask(
            app, "GET", link.path, query=dict(parse_qsl(link.query)), headers={"Authorization": f"Bearer {token}"}
        )
    assert sorted(found) == [f"tunnel-{number}" for number in range(7)]


async def test_records_of_a_clock_gone_wrong_are_paged_too(
    services: ControlServices, app: Starlette, token: str
) -> None:
    times = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]
    await keep(services, *(record(number=number, time=time) for number, time in enumerate(times)))
    found: list[str] = []
    skip: dict[str, str] = {}
    for _ in times:
        document = (await find(app, token, **{"$top": "1"}, **skip)).json()
        found += [one["tunnelId"] for one in document["value"]]
        skip = {"$skipToken": dict(parse_qsl(urlsplit(document.get("nextLink", "")).query)).get("$skipToken", "")}
    assert found == ["tunnel-2", "tunnel-1", "tunnel-0"]


async def test_a_reader_of_a_group_alone_sees_no_audit(services: ControlServices, app: Starlette) -> None:
    token = await token_of(services, READER.id, f"/subscriptions/{SUBSCRIPTION}/resourcegroups/servers")
    assert (await find(app, token)).status == 403


async def test_a_role_without_read_sees_no_audit(services: ControlServices, app: Starlette) -> None:
    token = await token_of(services, ONBOARDING.id, f"/subscriptions/{SUBSCRIPTION}")
    assert (await find(app, token, "openTunnels")).status == 403


async def test_nobody_sees_the_audit_without_a_token(app: Starlette) -> None:
    assert (await find(app, "x")).status == 401


async def test_a_sweep_leaves_what_is_young_or_still_open(
    services: ControlServices, app: Starlette, token: str
) -> None:
    await keep(services, record(number=1), record(Event.END, 1), record(Event.REFUSAL, 2), record(number=3))
    await keep(services, record(number=100), record(number=4, node="silent"))
    async with services.context.store.write() as transaction:
        transaction.session.add(
            Node(name="gw-1", version="", revision=0, open_tunnels=1, listen=[], time=START + timedelta(days=90))
        )
    assert await sweep(services.context.store, START + timedelta(seconds=50), batch=2) == 4
    assert await tunnels(app, token) == ["tunnel-100", "tunnel-3"]
