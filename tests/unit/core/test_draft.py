"""Drafts: read strictly, laid over a snapshot, enforced whatever the gateway's mode is now."""

from typing import Any

import pytest

from arcgate.core.draft import parse_draft, with_draft
from arcgate.core.errors import InputError
from arcgate.core.policy_settings import Mode
from arcgate.core.snapshot import Entry, Kind, Snapshot

GATEWAY = {
    "resourceId": "/g",
    "tenantId": "t",
    "allowedFeatures": ["*"],
    "handOver": "off",
    "policy": {"mode": "audit"},
}
GROUP = {"name": "Sql", "tenantId": "t", "tags": {}, "allowedFeatures": ["*"], "mode": "audit"}
SET = {"name": "Own", "tenantId": "t", "endpoints": ["old.example.com"], "allowPrivate": False}
SNAPSHOT = Snapshot().apply(
    [
        Entry(Kind.GATEWAY, "gw", 1, GATEWAY),
        Entry(Kind.MACHINE_GROUP, "/groups/sql", 1, GROUP),
        Entry(Kind.ENDPOINT_SET, "/other/own", 1, {**SET, "tenantId": "other"}),
        Entry(Kind.ENDPOINT_SET, "/sets/own", 1, SET),
    ],
    1,
)
DRAFT: dict[str, Any] = {
    "gateway": "/g",
    "machineGroup": None,
    "allowedFeatures": ["Own", "New"],
    "policy": None,
    "endpointSets": [
        {"name": "own", "endpoints": ["new.example.com:8443"], "allowPrivate": True},
        {"name": "New", "endpoints": ["n.example.com"], "allowPrivate": False},
    ],
}


def test_a_draft_is_what_was_written() -> None:
    assert parse_draft({**DRAFT, "evidence": [{"anything": 1}]}).to_json() == DRAFT


@pytest.mark.parametrize(
    "document",
    [
        *(None, 1, [], {}, {"gateway": "/g"}, {**DRAFT, "gateway": 1}, {**DRAFT, "machineGroup": 5}),
        *({**DRAFT, "allowedFeatures": "*"}, {**DRAFT, "allowedFeatures": [1]}, {**DRAFT, "endpointSets": [1]}),
        *({**DRAFT, "policy": {"mode": "x"}}, {**DRAFT, "endpointSets": [{"name": "x", "endpoints": ["*.com"]}]}),
    ],
)
def test_what_is_no_draft_is_an_input_error(document: Any) -> None:
    with pytest.raises(InputError):
        parse_draft(document)


def test_a_draft_replaces_sets_of_its_tenant_alone_and_enforces_the_gateway() -> None:
    drafted = with_draft(SNAPSHOT, SNAPSHOT.gateways["gw"], None, parse_draft(DRAFT))
    gateway = drafted.gateways["gw"]
    assert (gateway.allowed_features, gateway.policy.mode) == (("Own", "New"), Mode.ENFORCE)
    assert gateway.hand_over == "off"
    sets = {(one.tenant_id, one.name): [str(rule) for rule in one.endpoints] for one in drafted.endpoint_sets.values()}
    assert sets == {
        ("t", "own"): ["new.example.com:8443"],
        ("t", "New"): ["n.example.com"],
        ("other", "Own"): ["old.example.com"],
    }


def test_the_draft_of_a_group_changes_the_group_and_leaves_the_gateways_features() -> None:
    group = SNAPSHOT.machine_groups["/groups/sql"]
    drafted = with_draft(SNAPSHOT, SNAPSHOT.gateways["gw"], group, parse_draft({**DRAFT, "machineGroup": "Sql"}))
    assert drafted.gateways["gw"].allowed_features == ("*",)
    changed = drafted.machine_groups["/groups/sql"]
    assert (changed.allowed_features, changed.mode) == (("Own", "New"), Mode.ENFORCE)
