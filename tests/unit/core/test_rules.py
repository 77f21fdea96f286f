"""Rules: narrowed by groups and pins, widened by nothing, and observed where the policy is in audit mode."""

from ipaddress import ip_address
from typing import Any

import pytest

from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.names import parse_authority
from arcgate.core.policy import Identity, Policy
from arcgate.core.snapshot import Entry, GroupLimits, Kind, Snapshot
from arcgate.core.verdicts import Reason, Verdict

TENANT = "t"
BLOB = "*.blob.core.windows.net"


def policy(
    *features: str,
    settings: dict[str, Any] | None = None,
    groups: dict[str, dict[str, Any]] | None = None,
    tags: dict[str, str] | None = None,
    sets: dict[str, list[str]] | None = None,
) -> Policy:
    gateway = {"resourceId": "/g", "tenantId": TENANT, "allowedFeatures": list(features), "policy": settings}
    machine = {"resourceId": "/m", "tenantId": TENANT, "gateway": "gw", "tags": tags or {}}
    entries = [
        Entry(Kind.CLOUD, "cloud", 1, {"domain": "cloud.example", "controlHosts": ["management.cloud.example"]}),
        Entry(Kind.GATEWAY, "gw", 1, gateway),
        Entry(Kind.MACHINE, "m", 1, machine),
        *(
            Entry(Kind.MACHINE_GROUP, f"/groups/{name}", 1, {"name": name, "tenantId": TENANT, "tags": {}, **body})
            for name, body in (groups or {}).items()
        ),
        *(
            Entry(
                *(Kind.ENDPOINT_SET, f"/sets/{name}", 1),
                {"name": name, "tenantId": TENANT, "endpoints": endpoints, "allowPrivate": False},
            )
            for name, endpoints in (sets or {}).items()
        ),
    ]
    return Policy(Snapshot().apply(entries, 1), shipped_catalogue())


def decide(one: Policy, host: str) -> Verdict:
    target = parse_authority((host if ":" in host else f"{host}:443").encode())
    return one.decide(one.admit("gw", Identity("m", TENANT, "1")), target)


def test_a_scenario_is_named_like_a_feature_and_the_star_does_not_include_it() -> None:
    settings = {"parameters": {"vault": ["mine"]}}
    assert decide(policy("*", settings=settings), "mine.vault.azure.net").reason is Reason.TARGET_NOT_ALLOWED
    named = policy("keyVAULT", settings=settings)
    assert decide(named, "mine.vault.azure.net") == Verdict(Reason.FEATURE, "KeyVault", "mine.vault.azure.net")
    assert decide(named, "other.vault.azure.net").reason is Reason.TARGET_NOT_ALLOWED


def test_a_name_that_customers_can_own_stays_closed_until_it_is_filled_in() -> None:
    assert decide(policy("KeyVault"), "any.vault.azure.net").reason is Reason.TARGET_NOT_ALLOWED
    opened = policy("KeyVault", settings={"parameters": {"vault": ["*"]}})
    assert decide(opened, "any.vault.azure.net").is_allowed


def test_a_region_is_any_region_until_it_is_filled_in() -> None:
    host = "eastus.handler.control.monitor.azure.com"
    assert decide(policy("AzureMonitorAgent"), host).is_allowed
    west = policy("AzureMonitorAgent", settings={"parameters": {"region": ["westus"]}})
    assert decide(west, host).reason is Reason.TARGET_NOT_ALLOWED
    assert decide(west, host.replace("east", "west")).is_allowed


def test_an_own_set_hides_a_scenario_of_its_name() -> None:
    own = policy("Git", sets={"git": ["git.corp.example"]})
    assert decide(own, "git.corp.example").reason is Reason.ENDPOINT_SET
    assert decide(own, "dev.azure.com").reason is Reason.TARGET_NOT_ALLOWED


def test_a_pinned_wildcard_lets_the_named_accounts_through_and_no_other() -> None:
    one = policy("Storage", settings={"pins": {BLOB: ["mine", "yours.blob.core.windows.net"]}})
    for host in ("mine.blob.core.windows.net", "yours.blob.core.windows.net"):
        assert decide(one, host).reason is Reason.FEATURE
    for host in ("evil.blob.core.windows.net", "a.mine.blob.core.windows.net"):
        verdict = decide(one, host)
        assert (verdict.reason, verdict.is_allowed) == (Reason.WILDCARD_PINNED, False)
    assert decide(one, "x.web.core.windows.net").is_allowed
    elsewhere = policy("Monitor", settings={"pins": {BLOB: ["mine"]}})
    assert decide(elsewhere, "mine.blob.core.windows.net").reason is Reason.TARGET_NOT_ALLOWED


def test_a_pin_holds_below_wider_wildcards_and_spares_names_that_are_listed_in_full() -> None:
    settings = {"pins": {BLOB: ["mine"]}}
    one = policy("wide", "Defender", settings=settings, sets={"wide": ["*.core.windows.net"]})
    assert decide(one, "evil.blob.core.windows.net").reason is Reason.WILDCARD_PINNED
    assert decide(one, "mine.blob.core.windows.net").is_allowed
    assert decide(one, "x.web.core.windows.net").is_allowed
    assert decide(one, "ussus1eastprod.blob.core.windows.net").feature == "Defender"


def test_groups_narrow_a_machine_to_what_any_of_them_allows_of_what_the_gateway_allows() -> None:
    groups: dict[str, dict[str, Any]] = {
        "sql": {"tags": {"role": "sql"}, "allowedFeatures": ["ArcData", "Defender"]},
        "all": {"allowedFeatures": ["ArcCore"]},
    }
    one = policy("ArcCore", "ArcData", "Monitor", groups=groups, tags={"Role": "sql"})
    verdict = decide(one, "x.arcdataservices.com")
    assert (verdict.reason, verdict.group) == (Reason.FEATURE, "sql")
    assert decide(one, "pas.windows.net").group == "all"
    assert decide(one, "x.monitoring.azure.com").reason is Reason.GROUP_NOT_ALLOWED
    assert decide(one, "x.wd.microsoft.com").reason is Reason.TARGET_NOT_ALLOWED
    bare = policy("ArcCore", "ArcData", "Monitor", groups=groups)
    assert decide(bare, "x.arcdataservices.com").reason is Reason.GROUP_NOT_ALLOWED


def test_a_group_without_features_narrows_nothing() -> None:
    one = policy("Monitor", groups={"slow": {"allowedFeatures": None, "limits": {"bytesPerSecond": 1000}}})
    assert decide(one, "x.monitoring.azure.com").is_allowed
    assert one.limits_of("m") == GroupLimits(bytes_per_second=1000)


def test_the_least_number_of_all_groups_limits_a_machine() -> None:
    groups: dict[str, dict[str, Any]] = {
        "a": {"allowedFeatures": None, "limits": {"tunnels": 10, "dailyBytes": 5}},
        "b": {"allowedFeatures": None, "limits": {"tunnels": 7}},
    }
    assert policy("*", groups=groups).limits_of("m") == GroupLimits(tunnels=7, daily_bytes=5)
    assert policy("*").limits_of("m") is None
    assert policy("*", groups=groups).limits_of("nobody") is None


AUDIT = {"mode": "audit"}


@pytest.mark.parametrize(
    ("one", "host", "reason", "feature"),
    [
        (policy(settings=AUDIT), "evil.example", Reason.TARGET_NOT_ALLOWED, ""),
        (
            policy("Storage", settings={**AUDIT, "pins": {BLOB: ["mine"]}}),
            "evil.blob.core.windows.net",
            Reason.WILDCARD_PINNED,
            "",
        ),
        (
            policy("Monitor", settings={"auditedFeatures": ["Storage"]}),
            "any.blob.core.windows.net",
            Reason.FEATURE_AUDITED,
            "Storage",
        ),
        (
            policy("Monitor", groups={"g": {"allowedFeatures": [], "mode": "audit"}}),
            "x.monitoring.azure.com",
            Reason.GROUP_NOT_ALLOWED,
            "Monitor",
        ),
        (
            policy("Monitor", groups={"g": {"allowedFeatures": [], "auditedFeatures": ["Monitor"]}}),
            "x.monitoring.azure.com",
            Reason.GROUP_NOT_ALLOWED,
            "Monitor",
        ),
    ],
    ids=["gateway", "pin", "feature", "group", "feature of a group"],
)
def test_in_audit_mode_a_refusal_is_told_as_it_would_be_and_lets_the_tunnel_pass(
    one: Policy, host: str, reason: Reason, feature: str
) -> None:
    verdict = decide(one, host)
    assert (verdict.reason, verdict.is_allowed, verdict.name) == (reason, True, "audited")
    assert verdict.feature == feature


@pytest.mark.parametrize("group", [{"mode": "audit"}, {"auditedFeatures": ["Storage"]}])
def test_a_group_in_audit_mode_opens_nothing_that_the_gateway_refuses(group: dict[str, Any]) -> None:
    one = policy("Monitor", groups={"g": {"allowedFeatures": [], **group}})
    assert not decide(one, "any.blob.core.windows.net").is_allowed


def test_audit_mode_does_not_open_private_addresses() -> None:
    one = policy(settings=AUDIT)
    verdict = decide(one, "evil.example")
    gateway = one.snapshot.gateways["gw"]
    target = parse_authority(b"evil.example:443")
    for text in ("10.0.0.1", "127.0.0.1", "169.254.169.254"):
        assert not one.decide_address(verdict, gateway, target, ip_address(text)).is_allowed
    assert one.decide_address(verdict, gateway, target, ip_address("8.8.8.8")) == verdict
