"""Odd requests are answered the same on SQLite and PostgreSQL, which differ in what they keep."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest

from arcgate.control.node.secret import load_node_secret
from worlds.asgi import Reply, ask
from worlds.control_plane import GATEWAYS, MACHINES, SETS, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio

NUL = "a\0b"
LONG = "x" * 5000
WIDE = "\N{GRINNING FACE}" * 90
ODD = (NUL, LONG, WIDE, "", "\x7f\u202e", "%00", "a'b\"c\\d;--", "ﬁ", "İ")
OWN = "2026-11-01"
GROUPS = "2024-11-01"
ROLES = "2022-04-01"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@dataclass(frozen=True)
class Asked:
    """One request; TENANT and SUBSCRIPTION stand for the plane's own."""

    method: str
    path: str
    document: Any = None
    form: dict[str, str] | None = None
    version: str = ""
    by: str = "admin"
    query: dict[str, str] = field(default_factory=dict)


def _writes() -> list[Asked]:
    asked: list[Asked] = []
    for odd in ODD:
        tags = {"location": "eastus", "tags": {"a": odd}}
        asked += [
            Asked("PUT", "SUB/resourceGroups/servers", tags, version=GROUPS),
            Asked("PUT", f"SUB/{GATEWAYS}/gw", tags),
            Asked("PUT", f"SUB/{GATEWAYS}/gw", {"location": "eastus", "tags": {odd: "a"}}),
            Asked("PUT", f"SUB/{GATEWAYS}/gw", {"location": odd}),
            Asked("PUT", f"SUB/{MACHINES}/m", {"location": "eastus", "kind": odd}),
            Asked("PUT", f"SUB/{MACHINES}/m", {"location": "eastus", "properties": {"osType": odd, "mssql": [odd]}}),
            Asked("PATCH", f"SUB/{MACHINES}/m", {"kind": odd}),
            Asked("PUT", f"SUB/{MACHINES}/m/extensions/e", {"location": "eastus", "properties": {"publisher": odd}}),
            Asked(
                "PUT", f"SUB/{SETS}/s", {"properties": {"endpoints": ["a.example"], "description": odd}}, version=OWN
            ),
            Asked("PUT", f"SUB/{SETS}/s", {"properties": {"endpoints": [odd]}}, version=OWN),
            Asked("PUT", f"SUB/{GATEWAYS}/{quote(odd) or 'x'}", {"location": "eastus"}),
            _principal(displayName=odd, role="Reader", scope="/subscriptions/SUBSCRIPTION"),
            _principal(displayName="a", role=odd, scope="/subscriptions/SUBSCRIPTION"),
            _principal(displayName="a", role="Reader", scope=odd),
            _principal(displayName="a", role="Reader", scope="/subscriptions/SUBSCRIPTION", certificate=odd),
            _assignment(principalId=odd, roleDefinitionId=READER),
            _assignment(principalId="11111111-1111-4111-8111-111111111111", roleDefinitionId=odd),
        ]
    return asked


def _principal(**document: str) -> Asked:
    path = "/tenants/TENANT/providers/Arcgate.Network/servicePrincipals"
    return Asked("POST", path, document, version=OWN)


def _assignment(**properties: str) -> Asked:
    name = "33333333-3333-4333-8333-333333333333"
    path = f"SUB/providers/Microsoft.Authorization/roleAssignments/{name}"
    return Asked("PUT", path, {"properties": properties}, version=ROLES)


def _reads() -> list[Asked]:
    asked: list[Asked] = []
    for odd in ODD:
        token = base64.urlsafe_b64encode(odd.encode()).decode().rstrip("=")
        place = quote(odd[:300]) or "x"
        asked += [
            Asked("GET", f"SUB/{GATEWAYS}", query={"$skipToken": token}),
            Asked("GET", "SUB/resources", query={"$skipToken": token}, version=GROUPS),
            Asked("GET", "SUB/resources", query={"$filter": odd}, version=GROUPS),
            Asked("GET", "SUB/resourceGroups", query={"$top": odd, "$skipToken": token}, version=GROUPS),
            Asked("GET", f"SUB/resourceGroups/{place}", version=GROUPS),
            Asked("GET", f"SUB/{MACHINES}/{place}"),
            Asked("GET", f"/subscriptions/{place}/resourceGroups", version=GROUPS),
            Asked("GET", f"SUB/providers/Microsoft.HybridCompute/locations/eastus/operationstatus/{place}"),
            Asked(
                "GET", "SUB/providers/Microsoft.Authorization/roleAssignments", query={"$filter": odd}, version=ROLES
            ),
            Asked("GET", f"SUB/providers/Microsoft.Authorization/roleAssignments/{place}", version=ROLES),
            *(
                Asked("GET", "SUB/providers/Arcgate.Network/auditRecords", query={name: odd}, version=OWN)
                for name in ("machine", "target", "correlationId", "$skipToken")
            ),
        ]
    return asked


def _sign_ins() -> list[Asked]:
    asked: list[Asked] = []
    for odd in ODD:
        place, code = quote(odd[:300]) or "x", {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
        form = {"grant_type": "client_credentials", "client_id": odd, "client_secret": odd}
        refresh = {"grant_type": "refresh_token", "client_id": "a", "refresh_token": odd}
        asked += [
            Asked("POST", "/TENANT/oauth2/v2.0/token", form=form, by="nobody"),
            Asked("POST", "/TENANT/oauth2/v2.0/token", form=refresh, by="nobody"),
            Asked(
                "POST", "/TENANT/oauth2/v2.0/token", form={**code, "client_id": "a", "device_code": odd}, by="nobody"
            ),
            Asked("POST", "/TENANT/oauth2/v2.0/devicecode", form={"client_id": odd}, by="nobody"),
            Asked("POST", "/TENANT/oauth2/v2.0/devicecode", form={"client_id": "a", "scope": odd}, by="nobody"),
            Asked("POST", "/TENANT/oauth2/v2.0/devicecode", form={"client_id": "a", "resource": odd}, by="nobody"),
            Asked("GET", f"/{place}/v2.0/.well-known/openid-configuration", by="nobody"),
        ]
    return asked


def _node_reports() -> list[Asked]:
    asked: list[Asked] = []
    for odd in ODD:
        report = {"node": "gw-1", "version": odd, "revision": 2**53 - 1, "openTunnels": 2**31 - 1, "listen": [odd]}
        record = dict.fromkeys(_RECORD, odd) | {"event": "start", "tunnelId": "t", "time": "2026-11-01T12:00:00Z"}
        numbers = {"policyRevision": 2**63 - 1, "bytesUp": 0, "bytesDown": 2**63 - 1, "duration": 1.5}
        asked += [
            Asked("POST", "/node/v1/heartbeat", report, by="node"),
            Asked("POST", "/node/v1/heartbeat", {**report, "node": odd}, by="node"),
            Asked("POST", "/node/v1/audit", {"records": [record | numbers]}, by="node"),
            Asked(
                "POST", "/node/v1/audit", {"records": [record | numbers | {"tunnelId": odd, "spool": odd}]}, by="node"
            ),
            Asked("POST", "/node/v1/audit", {"records": [_with_ids(record | numbers)], "more": odd}, by="node"),
        ]
    return asked


_RECORD = (
    "event",
    "tunnelId",
    "correlationId",
    "time",
    "node",
    "machineId",
    "machine",
    "tenantId",
    "subscriptionId",
    "gateway",
    "clientAddress",
    "target",
    "resolvedAddress",
    "feature",
    "rule",
    "verdict",
    "reason",
    "detail",
)


def _with_ids(record: dict[str, Any]) -> dict[str, Any]:
    return record | dict.fromkeys(("machineId", "tenantId", "subscriptionId"), str(UUID(int=1)))


@pytest.fixture
async def planes(tmp_path: Path, postgresql: Database) -> AsyncIterator[list[ControlPlane]]:
    async with control_plane(tmp_path / "s") as sqlite, control_plane(tmp_path / "p", postgresql) as other:
        for plane in (sqlite, other):
            await plane.group()
            await plane.gateway("gw")
        yield [sqlite, other]


async def _answer(plane: ControlPlane, asked: Asked) -> Reply:
    path = asked.path.replace("SUB/", "/subscriptions/SUBSCRIPTION/", 1)
    path = path.replace("TENANT", plane.tenant_id).replace("SUBSCRIPTION", plane.subscription_id)
    secret = load_node_secret(plane.context.configuration)
    who = {"admin": plane.admin.headers, "node": {"Authorization": f"Bearer {secret}"}, "nobody": {}}[asked.by]
    document = asked.document
    if document is not None:
        document = json.loads(json.dumps(document).replace("SUBSCRIPTION", plane.subscription_id))
    if asked.form is not None:
        who = {**who, "content-type": "application/x-www-form-urlencoded"}
        return await ask(plane.app, "POST", path, body=urlencode(asked.form).encode(), headers=who)
    query = {"api-version": asked.version or "2026-07-15", **asked.query}
    return await ask(plane.app, asked.method, path, query=query, document=document, headers=who)


def _summary(reply: Reply) -> tuple[int, str, str]:
    """What must be the same: identifiers and times differ."""
    try:
        error = reply.json().get("error", {})
    except ValueError:
        error = {}
    if isinstance(error, str):  # the form of OAuth 2.0
        return reply.status, error, ""
    return reply.status, error.get("code", ""), error.get("message", "")


@pytest.mark.parametrize("requests", [_writes, _reads, _sign_ins, _node_reports])
async def test_odd_requests_have_the_same_answers(
    planes: list[ControlPlane], requests: Callable[[], list[Asked]]
) -> None:
    differences = []
    for asked in requests():
        ours, theirs = [_summary(await _answer(plane, asked)) for plane in planes]
        replaced = tuple(str(part).replace(planes[1].subscription_id, planes[0].subscription_id) for part in theirs)
        if tuple(map(str, ours)) != replaced or ours[0] >= 500:
            differences.append((asked, ours, theirs))
    assert differences == []
