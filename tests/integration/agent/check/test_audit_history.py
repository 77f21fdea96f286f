"""The audit of a real control plane, asked by a machine that somebody lends a token."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from arcgate.agent import arm
from arcgate.agent.arm import ResourceManager
from arcgate.agent.check.audit_history import read_carried
from arcgate.agent.state import AgentIdentity
from arcgate.control.audit.ingest import keep_records
from arcgate.core.audit import AuditRecord, Event
from arcgate.core.names import parse_target
from worlds.agent_cloud import AgentCloud, agent_cloud
from worlds.authority import Authority

pytestmark = pytest.mark.anyio

VM = "33333333-3333-4333-8333-333333333333"
NOW = datetime(2026, 11, 2, tzinfo=UTC)


async def _keep(cloud: AgentCloud, number: int, target: str, machine_id: str = VM) -> None:
    record = AuditRecord(
        event=Event.START,
        tunnel_id=f"tunnel-{number}",
        correlation_id=f"correlation-{number}",
        time=(NOW - timedelta(hours=number)).isoformat(),
        node="gw-1",
        machine_id=machine_id,
        machine="",
        tenant_id=cloud.plane.tenant_id,
        subscription_id=cloud.plane.subscription_id,
        gateway="",
        client_address="10.0.0.1",
        target=target,
        resolved_address="20.0.0.1",
        feature="ArcCore",
        rule="",
        verdict="allowed",
        reason="feature",
        detail="",
        policy_revision=5,
    )
    await keep_records(cloud.plane.context.store, [record.to_json()])


async def test_targets_of_this_machine_and_span_are_read_from_all_pages(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm, "AUDIT_PAGE", 1)
    async with agent_cloud(tmp_path, authority) as cloud:
        for number, target in enumerate(("a.example.com:443", "b.example.com:443", "a.example.com:443")):
            await _keep(cloud, number, target)
        await _keep(cloud, 30, "old.example.com:443")
        await _keep(cloud, 5, "other.example.com:443", "44444444-4444-4444-8444-444444444444")
        identity = AgentIdentity(cloud.plane.subscription_id, "servers", "box", "/box", "t", "eastus", VM, "Arcgate")
        manager = ResourceManager(cloud.client(), cloud.cloud.resource_manager, cloud.plane.admin.token)
        carried, notes = await read_carried(manager, identity, NOW - timedelta(hours=24))
        assert carried == {
            parse_target("a.example.com:443"): NOW,
            parse_target("b.example.com:443"): NOW - timedelta(hours=1),
        }
        assert notes == ()
        stranger = ResourceManager(cloud.client(), cloud.cloud.resource_manager, "nobody")
        assert "audit could not be read" in (await read_carried(stranger, identity, NOW))[1][0]
