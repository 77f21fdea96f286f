"""Goals of machines: their content, and revisions that rise exactly when the content may have changed."""

from dataclasses import replace
from typing import Any

from arcgate.control.his.goals import catalogue_mark, control_patterns, goal_of
from arcgate.core.catalogue import parse_catalogue
from arcgate.core.configuration import CloudSettings, Configuration
from arcgate.core.routing import Goal
from arcgate.core.snapshot import Entry, Kind

CATALOGUE = parse_catalogue(
    """
    [source]
    title = "test"
    date = 2026-01-01
    [features.Core]
    title = "Core"
    purpose = "core"
    endpoints = ["management.azure.test", "*.his.azure.test"]
    [features.Monitor]
    title = "Monitor"
    purpose = "monitor"
    endpoints = ["*.monitor.azure.test", "management.azure.test"]
    """
)
CONFIGURATION = Configuration(cloud=CloudSettings(domain="arcgate.test"))
CLOUD = Entry(Kind.CLOUD, "cloud", 1, {"domain": "arcgate.test", "controlHosts": []})
GATEWAY_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/gateways/gw"


def machine(revision: int, gateway: str | None) -> Entry:
    return Entry(Kind.MACHINE, "m", revision, {"resourceId": "/m", "tenantId": "t", "gateway": gateway})


def gateway(revision: int, *features: str) -> Entry:
    body = {"resourceId": GATEWAY_ID, "tenantId": "t", "allowedFeatures": list(features)}
    return Entry(Kind.GATEWAY, "abc", revision, body)


def endpoint_set(revision: int, name: str = "own", tenant: str = "t", *, removed: bool = False) -> Entry:
    body: dict[str, Any] | None = {
        "name": name,
        "tenantId": tenant,
        "endpoints": ["10.0.0.0/8:1433"],
        "allowPrivate": True,
    }
    return Entry(
        Kind.ENDPOINT_SET, f"/subscriptions/s/{tenant}/endpointsets/{name}", revision, None if removed else body
    )


def goal(machine_entry: Entry, gateway_entry: Entry | None, *others: Entry) -> Goal:
    return goal_of(machine_entry, gateway_entry, (CLOUD, *others), CATALOGUE, CONFIGURATION)


def texts(one: Goal) -> list[str]:
    return [pattern.text for pattern in one.allowed]


def test_a_machine_without_gateway_knows_the_control_plane_alone() -> None:
    found = goal(machine(5, None), None)
    assert not found.has_gateway
    assert found.revision == 5
    assert found.allowed == ()
    assert "management.arcgate.test" in [pattern.text for pattern in found.control]


def test_the_goal_names_the_gateway_and_its_features_patterns() -> None:
    found = goal(machine(5, "abc"), gateway(3, "Core"))
    assert found.gateway_url == "https://abc.gw.arcgate.test"
    assert found.gateway_id == GATEWAY_ID
    assert texts(found) == ["management.azure.test", "*.his.azure.test"]


def test_patterns_that_features_share_are_named_once() -> None:
    found = texts(goal(machine(5, "abc"), gateway(3, "*")))
    assert len(found) == len(set(found)) == 3


def test_own_endpoint_sets_count_when_the_gateway_names_them() -> None:
    assert texts(goal(machine(5, "abc"), gateway(3, "OWN"), endpoint_set(4))) == ["10.0.0.0/8:1433"]
    assert texts(goal(machine(5, "abc"), gateway(3, "Core"), endpoint_set(9))) == [
        "management.azure.test",
        "*.his.azure.test",
    ]


def test_another_tenants_endpoint_set_changes_neither_content_nor_revision() -> None:
    own = goal(machine(5, "abc"), gateway(3, "*"))
    assert goal(machine(5, "abc"), gateway(3, "*"), endpoint_set(9, tenant="u")) == own


def test_the_revision_is_the_highest_of_what_the_goal_is_made_of() -> None:
    assert goal(machine(5, "abc"), gateway(3, "*")).revision == 5
    assert goal(machine(5, "abc"), gateway(7, "*")).revision == 7
    assert goal(machine(5, "abc"), gateway(3, "*"), endpoint_set(8)).revision == 8
    assert goal(machine(5, "abc"), gateway(3, "Core"), endpoint_set(8)).revision == 5


def test_a_removed_endpoint_set_raises_the_revision() -> None:
    found = goal(machine(5, "abc"), gateway(3, "*"), endpoint_set(9, removed=True))
    assert found.revision == 9
    assert "10.0.0.0/8:1433" not in texts(found)


def test_a_removed_gateway_raises_the_revision_and_leaves_none() -> None:
    found = goal(machine(5, "abc"), Entry(Kind.GATEWAY, "abc", 9, None))
    assert found.revision == 9
    assert not found.has_gateway


def test_the_public_port_stands_in_gateway_and_control_patterns() -> None:
    moved = Configuration(cloud=CloudSettings(domain="arcgate.test", public_port=8443))
    found = goal_of(machine(5, "abc"), gateway(3, "*"), (CLOUD,), CATALOGUE, moved)
    assert found.gateway_url == "https://abc.gw.arcgate.test:8443"
    assert {pattern.port for pattern in found.control} == {8443}
    assert {pattern.port for pattern in control_patterns(CONFIGURATION)} == {443}


def test_a_goal_survives_its_json_form() -> None:
    found = goal(machine(5, "abc"), gateway(3, "*"), endpoint_set(4))
    assert Goal.from_json(found.to_json()) == found


def test_a_catalogue_with_another_pattern_has_another_mark() -> None:
    features = {name: replace(feature, title="other words") for name, feature in CATALOGUE.features.items()}
    assert catalogue_mark(replace(CATALOGUE, features=features)) == catalogue_mark(CATALOGUE)
    features["Core"] = replace(features["Core"], endpoints=features["Core"].endpoints[:1])
    assert catalogue_mark(replace(CATALOGUE, features=features)) != catalogue_mark(CATALOGUE)


def test_names_that_skip_the_gateway_come_with_it() -> None:
    entry = gateway(3, "*")
    assert entry.body is not None
    with_bypass = replace(entry, body={**entry.body, "bypass": ["login.microsoftonline.com"]})
    assert goal(machine(5, "abc"), with_bypass).bypass == ("login.microsoftonline.com",)
    assert goal(machine(5, None), with_bypass).bypass == ()


def test_a_gateway_in_audit_mode_takes_all_and_names_on_trial_are_allowed() -> None:
    def with_policy(**policy: Any) -> Entry:
        known = gateway(3, "Core")
        return replace(known, body={**(known.body or {}), "policy": policy})

    assert not goal(machine(2, "abc"), gateway(3, "Core")).takes_all
    assert goal(machine(2, "abc"), with_policy(mode="audit")).takes_all
    on_trial = goal(machine(2, "abc"), with_policy(auditedFeatures=["Monitor", "own"]), endpoint_set(9))
    assert not on_trial.takes_all
    assert {"*.monitor.azure.test", "10.0.0.0/8:1433"} <= set(texts(on_trial))
    assert on_trial.revision == 9


def test_a_pinned_wildcard_is_told_as_what_remains_of_it() -> None:
    known = gateway(3, "Monitor")
    pinned = replace(known, body={**(known.body or {}), "policy": {"pins": {"*.monitor.azure.test": ["mine"]}}})
    assert texts(goal(machine(2, "abc"), pinned)) == ["mine.monitor.azure.test", "management.azure.test"]
