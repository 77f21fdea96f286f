"""Learn, propose, review, enforce: through a gateway node and a control plane."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arcgate.control.arm.roles import GATEWAY_OPERATOR, READER
from arcgate.control.audit.retention import forget_revisions
from worlds.authority import Authority
from worlds.control_plane import MACHINES
from worlds.databases import Database
from worlds.policy_run import ARCGATE, PROVIDER, PolicyRun, policy_run

pytestmark = pytest.mark.anyio

RUN = [
    ("web", "pas.windows.net:443"),
    ("web", "pas.windows.net:443"),
    ("web", "mine.blob.core.windows.net:443"),
    ("web", "deb.mirror.example:443"),
    ("sql", "pas.windows.net:443"),
    ("sql", "git.corp.example:8443"),
    ("sql", "x.eastus.arcdataservices.com:443"),
]
"""Who fetched what while the policy was only observed."""

NOT_SEEN = [
    *("evil.example:443", "other.blob.core.windows.net:443", "graph.windows.net:443"),
    *("deb.mirror.example:80", "git.corp.example:443", "sub.pas.windows.net:443", "127.0.0.9:443"),
]


@pytest.fixture
async def run(
    authority: Authority, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PolicyRun]:
    async with policy_run(authority, tmp_path, database, monkeypatch) as made:
        await made.add_machine("web")
        await made.add_machine("sql", role="sql")
        yield made


async def learn(run: PolicyRun) -> None:
    """Do the run in audit mode, with nothing allowed, and hand the audit over."""
    assert (await run.patch(allowedFeatures=[], policy={"mode": "audit"})).status == 200
    for machine, target in RUN:
        assert await run.fetch(machine, target) == 200, target
    await run.send_audit()


async def propose(run: PolicyRun, **more: str) -> dict[str, Any]:
    return dict(await run.ask("POST", "policyProposal", {"gateway": run.gateway_id, **more}))


async def test_a_proposal_from_one_run_lets_the_same_run_through_and_nothing_else(run: PolicyRun) -> None:
    await learn(run)
    draft = await propose(run)
    replayed = await run.ask("POST", "policyReplay", {"draft": draft})
    assert (replayed["kept"]["requests"], replayed["cut"]["requests"]) == (len(RUN), 0)
    await run.apply(draft)
    for machine, target in RUN:
        assert await run.fetch(machine, target) == 200, target
    for target in NOT_SEEN:
        assert await run.fetch("web", target) == 403, target
    evidence = {one["endpoint"]: one for one in draft["evidence"]}
    assert sorted(evidence) == sorted({target.removesuffix(":443") for _, target in RUN})
    seen = evidence["pas.windows.net"]
    assert (seen["requests"], seen["machines"], seen["bytesUp"], seen["bytesDown"]) == (3, 2, 24, 24)
    assert "ArcCore" in seen["names"]
    assert seen["firstSeen"] <= seen["lastSeen"]


async def test_a_proposal_by_features_takes_the_fewest_and_pins_what_anybody_can_own(run: PolicyRun) -> None:
    await learn(run)
    draft = await propose(run, basis="feature")
    names = set(draft["allowedFeatures"])
    assert "learned-edge" in names
    assert {"deb.mirror.example", "git.corp.example:8443"} == set(draft["endpointSets"][0]["endpoints"])
    assert draft["policy"]["pins"]["*.blob.core.windows.net"] == ["mine.blob.core.windows.net"]
    await run.apply(draft)
    for machine, target in RUN:
        assert await run.fetch(machine, target) == 200, target
    for target in ("evil.example:443", "other.blob.core.windows.net:443"):
        assert await run.fetch("web", target) == 403, target


async def test_a_replay_names_the_machines_targets_and_bytes_that_a_draft_would_cut(run: PolicyRun) -> None:
    await learn(run)
    draft = await propose(run)
    (learned,) = draft["endpointSets"]
    learned["endpoints"].remove("git.corp.example:8443")
    answer = await run.ask("POST", "policyReplay", {"draft": draft})
    assert answer["cut"] == {
        "machines": 1,
        "targets": 1,
        "requests": 1,
        "bytesUp": 8,
        "bytesDown": 8,
        **{name: answer["value"][0][name] for name in ("firstSeen", "lastSeen")},
    }
    (cut,) = answer["value"]
    assert cut["machine"].endswith("/machines/sql")
    assert (cut["target"], cut["reason"]) == ("git.corp.example:8443", "target_not_allowed")
    later = await run.ask("POST", "policyReplay", {"draft": draft, "since": "2999-01-01T00:00:00Z"})
    assert later["cut"]["requests"] == later["kept"]["requests"] == 0


async def test_a_proposal_for_a_group_sees_its_machines_alone(run: PolicyRun) -> None:
    await learn(run)
    await run.put("machineGroups", "Sql", tags={"role": "sql"}, allowedFeatures=[], mode="audit")
    draft = await propose(run, machineGroup="sql")
    assert draft["machineGroup"] == "Sql"
    assert draft["policy"] is None
    (learned,) = draft["endpointSets"]
    assert learned["endpoints"] == ["git.corp.example:8443", "pas.windows.net", "x.eastus.arcdataservices.com"]


async def test_the_policy_goes_back_to_any_revision_and_its_history_says_who_changed_what(run: PolicyRun) -> None:
    before = run.node.policy.snapshot.revision
    await run.patch(allowedFeatures=["Defender"])
    await run.patch(allowedFeatures=["Monitor"], policy={"pins": {"*.blob.core.windows.net": ["mine"]}})
    await run.put("endpointSets", "own", endpoints=["own.example"])
    await run.put("machineGroups", "few", tags={}, allowedFeatures=["own"])
    assert await run.fetch("web", "pas.windows.net:443") == 403
    history = (await run.ask("GET", "policyRevisions"))["value"]
    assert [one["kind"] for one in history][:3] == ["machineGroup", "endpointSet", "gateway"]
    assert history[3]["before"]["allowedFeatures"] == ["*"]
    assert history[2]["before"]["allowedFeatures"] == ["Defender"]
    assert history[2]["after"]["allowedFeatures"] == ["Monitor"]
    assert {one["changedBy"] for one in history} == {run.control.admin.principal.login}
    dry = await run.ask("POST", f"policyRevisions/{before}/rollback", {"dryRun": True})
    assert [one["kind"] for one in dry["value"]] == ["endpointSet", "machineGroup", "gateway"]
    assert (await run.ask("GET", "policyRevisions"))["value"] == history
    done = await run.ask("POST", f"policyRevisions/{before}/rollback")
    assert (done["revision"], done["skipped"]) == (run.node.policy.snapshot.revision + 1, [])
    await run.follow()
    assert await run.fetch("web", "pas.windows.net:443") == 200
    assert not run.node.policy.snapshot.endpoint_sets
    assert not run.node.policy.snapshot.machine_groups
    await run.ask("POST", f"policyRevisions/{done['revision'] - 1}/rollback")
    await run.follow()
    assert await run.fetch("web", "pas.windows.net:443") == 403
    assert [one.name for one in run.node.policy.snapshot.machine_groups.values()] == ["few"]


async def test_going_back_takes_signed_channels_and_hand_over_back_too(run: PolicyRun) -> None:
    await run.patch(handOver="off")
    before = (await run.ask("GET", "policyRevisions"))["value"][0]["revision"]
    await run.patch(handOver="early", signedChannels=True)
    await run.ask("POST", f"policyRevisions/{before}/rollback")
    newest = (await run.ask("GET", "policyRevisions"))["value"][0]["after"]
    assert (newest["handOver"], newest.get("signedChannels")) == ("off", None)


async def test_a_machine_whose_tags_change_moves_between_groups(run: PolicyRun) -> None:
    await run.put("machineGroups", "Sql", tags={"role": "sql"}, allowedFeatures=["ArcData"])
    assert await run.fetch("web", "pas.windows.net:443") == 200
    for tags, status in (({"role": "sql"}, 403), ({}, 200)):
        assert (await run.control.arm("PATCH", f"{MACHINES}/web", {"tags": tags})).status == 200
        await run.follow()
        assert await run.fetch("web", "pas.windows.net:443") == status


async def test_history_is_forgotten_after_its_time(run: PolicyRun) -> None:
    assert (await run.ask("GET", "policyRevisions"))["value"] != []
    store, now = run.control.context.store, run.control.clock()
    await forget_revisions(store, now - timedelta(days=1))
    assert (await run.ask("GET", "policyRevisions"))["value"] != []
    await forget_revisions(store, now + timedelta(days=1))
    assert (await run.ask("GET", "policyRevisions"))["value"] == []


async def test_questions_about_what_one_may_not_see_are_answered_like_what_does_not_exist(run: PolicyRun) -> None:
    stranger = await run.control.principal(GATEWAY_OPERATOR, f"{run.gateway_id.rpartition('/providers/')[0]}")
    other, _ = await run.control.other_tenant()
    for caller, status in ((stranger, 403), (other, 404)):
        reply = await run.control.arm(
            *("POST", f"{PROVIDER}/policyProposal", {"gateway": run.gateway_id}), caller=caller, version=ARCGATE
        )
        assert reply.status == status
    reader = await run.control.principal(READER)
    rollback = f"{PROVIDER}/policyRevisions/1/rollback"
    assert (await run.control.arm("POST", rollback, {}, caller=reader, version=ARCGATE)).status == 403


async def test_an_explanation_names_rule_group_gateway_and_revision(run: PolicyRun) -> None:
    await run.patch(allowedFeatures=["ArcData", "ArcCore"])
    await run.put("machineGroups", "Sql", tags={"role": "sql"}, allowedFeatures=["ArcData"])
    allowed = await run.ask("GET", "policyExplanation", machine="sql", target="x.arcdataservices.com")
    facts = ("verdict", "reason", "feature", "rule", "group", "gateway", "revision")
    assert [allowed[fact] for fact in facts] == [
        *("allowed", "feature", "ArcData", "*.arcdataservices.com", "Sql"),
        *(run.gateway_id, run.node.policy.snapshot.revision),
    ]
    narrowed = await run.ask("GET", "policyExplanation", machine="sql", target="pas.windows.net:443")
    assert (narrowed["verdict"], narrowed["reason"]) == ("refused", "group_not_allowed")
    assert narrowed["remedy"]
    other = await run.ask("GET", "policyExplanation", machine="web", target="x.wd.microsoft.com")
    assert (other["reason"], other["names"]) == ("target_not_allowed", ["Defender", "DefenderForEndpoint"])
