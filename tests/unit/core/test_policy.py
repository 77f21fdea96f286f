"""The gateway's policy: closed unless a rule opens it."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.addresses import AddressClass, Network, classify
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.names import Target, parse_authority
from arcgate.core.policy import Admission, Identity, Policy
from arcgate.core.rules import rules_of
from arcgate.core.snapshot import Entry, Kind, Snapshot
from arcgate.core.verdicts import ALLOWING, Reason, Verdict

TENANT, OTHER_TENANT = "tenant-1", "tenant-2"


def entries(**changes: Any) -> list[Entry]:
    """One cloud, gateways of two tenants, machines in every state, endpoint sets of both tenants."""

    def gateway(tenant: str, *features: str) -> dict[str, Any]:
        return {"resourceId": f"/gateways/{tenant}", "tenantId": tenant, "allowedFeatures": list(features)}

    def machine(tenant: str, gateway: str | None, *revoked: str) -> dict[str, Any]:
        return {"resourceId": "/m", "tenantId": tenant, "gateway": gateway, "revokedSerials": list(revoked)}

    def endpoint_set(name: str, tenant: str, allow_private: bool, *endpoints: str) -> dict[str, Any]:
        return {"name": name, "tenantId": tenant, "endpoints": list(endpoints), "allowPrivate": allow_private}

    bodies: dict[tuple[Kind, str], dict[str, Any]] = {
        (Kind.CLOUD, "cloud"): {
            "domain": "cloud.example",
            "controlHosts": ["management.cloud.example", "*.his.cloud.example"],
        },
        (Kind.GATEWAY, "gw"): gateway(TENANT, "Monitor", "databases", "NoSuchFeature"),
        (Kind.GATEWAY, "star"): gateway(TENANT, "*"),
        (Kind.GATEWAY, "empty"): gateway(TENANT),
        (Kind.GATEWAY, "other"): gateway(OTHER_TENANT, "Databases", "Secrets"),
        (Kind.MACHINE, "m1"): machine(TENANT, "gw", "bad1", "bad2"),
        (Kind.MACHINE, "star1"): machine(TENANT, "star"),
        (Kind.MACHINE, "empty1"): machine(TENANT, "empty"),
        (Kind.MACHINE, "loose"): machine(TENANT, None),
        (Kind.MACHINE, "foreign"): machine(OTHER_TENANT, "other"),
        (Kind.ENDPOINT_SET, "/s/databases"): endpoint_set(
            "Databases", TENANT, True, "*.corp.example:1433", "10.20.0.0/16:1433"
        ),
        (Kind.ENDPOINT_SET, "/s/web"): endpoint_set("Web", TENANT, False, "www.corp.example"),
        (Kind.ENDPOINT_SET, "/o/databases"): endpoint_set("Databases", OTHER_TENANT, False, "db.other.example"),
        (Kind.ENDPOINT_SET, "/o/secrets"): endpoint_set("Secrets", OTHER_TENANT, True, "vault.other.example"),
    }
    return [Entry(kind, key, 1, changes.get(key, body)) for (kind, key), body in bodies.items()]


def policy(open_networks: tuple[Network, ...] = (), **changes: Any) -> Policy:
    return Policy(Snapshot().apply(entries(**changes), 1), shipped_catalogue(), open_networks)


def identity(machine: str = "m1", tenant: str = TENANT, serial: str = "1") -> Identity:
    return Identity(machine, tenant, serial)


def target(text: str) -> Target:
    return parse_authority((text if ":" in text else f"{text}:443").encode())


def decide(machine: str | None, host: str, prefix: str = "gw", tenant: str = TENANT) -> Reason:
    one = policy()
    admission = one.admit(prefix, identity(machine, tenant) if machine else None)
    return one.decide(admission, target(host)).reason


def test_before_any_policy_has_arrived_nobody_is_admitted() -> None:
    for snapshot in (
        Snapshot(),
        replace(Snapshot().apply(entries(), 1), revision=0),
        Snapshot().apply([entry for entry in entries() if entry.kind is not Kind.CLOUD], 1),
    ):
        one = Policy(snapshot, shipped_catalogue())
        admission = one.admit("gw", identity())
        assert admission.refusal == Verdict(Reason.NO_POLICY)
        assert one.decide(admission, target("management.cloud.example")).reason is Reason.NO_POLICY


@pytest.mark.parametrize(
    ("prefix", "who", "refusal"),
    [
        (None, identity(), Reason.GATEWAY_UNKNOWN),
        ("", identity(), Reason.GATEWAY_UNKNOWN),
        ("nope", identity(), Reason.GATEWAY_UNKNOWN),
        ("GW", identity(), Reason.GATEWAY_UNKNOWN),
        ("nope", None, Reason.GATEWAY_UNKNOWN),
        ("gw", None, None),
        ("gw", identity(), None),
        ("gw", identity("nobody"), Reason.MACHINE_UNKNOWN),
        ("gw", identity(tenant=OTHER_TENANT), Reason.MACHINE_UNKNOWN),
        ("gw", identity("foreign"), Reason.MACHINE_UNKNOWN),
        ("gw", identity("foreign", OTHER_TENANT), None),
        ("gw", identity(serial="bad1"), Reason.CERTIFICATE_REVOKED),
        ("gw", identity(serial="bad2"), Reason.CERTIFICATE_REVOKED),
        ("gw", identity(serial="bad"), None),
        ("other", identity(), None),
    ],
)
def test_admission(prefix: str | None, who: Identity | None, refusal: Reason | None) -> None:
    admission = policy().admit(prefix, who)
    assert (admission.refusal.reason if admission.refusal else None) is refusal


@pytest.mark.parametrize(
    ("machine", "prefix", "tenant"),
    [
        (None, "gw", TENANT),
        ("m1", "gw", TENANT),
        ("loose", "gw", TENANT),
        ("m1", "star", TENANT),
        ("m1", "empty", TENANT),
    ],
)
def test_every_client_of_a_known_gateway_reaches_the_control_plane(
    machine: str | None, prefix: str, tenant: str
) -> None:
    for host in ("management.cloud.example", "eastus.his.cloud.example", "MANAGEMENT.cloud.example."):
        assert decide(machine, host, prefix, tenant) is Reason.CONTROL_PLANE


@pytest.mark.parametrize("host", ["his.cloud.example", "cloud.example", "login.cloud.example",
                                  "management.cloud.example:80", "management.cloud.example.evil.example"])  # fmt: skip
def test_what_only_looks_like_the_control_plane_is_closed_without_a_certificate(host: str) -> None:
    assert decide(None, host) is Reason.CERTIFICATE_REQUIRED


@pytest.mark.parametrize(
    ("machine", "host", "prefix", "reason"),
    [
        (None, "x.ods.opinsights.azure.com", "gw", Reason.CERTIFICATE_REQUIRED),
        ("loose", "global.handler.control.monitor.azure.com", "gw", Reason.NOT_ASSOCIATED),
        ("m1", "global.handler.control.monitor.azure.com", "star", Reason.NOT_ASSOCIATED),
        ("m1", "global.handler.control.monitor.azure.com", "other", Reason.NOT_ASSOCIATED),
        ("m1", "global.handler.control.monitor.azure.com", "gw", Reason.FEATURE),
        ("m1", "GLOBAL.handler.control.monitor.azure.com.", "gw", Reason.FEATURE),
        ("m1", "global.handler.control.monitor.azure.com:80", "gw", Reason.TARGET_NOT_ALLOWED),
        ("m1", "graph.microsoft.com", "gw", Reason.TARGET_NOT_ALLOWED),
        ("m1", "db1.corp.example:1433", "gw", Reason.ENDPOINT_SET),
        ("m1", "10.20.3.4:1433", "gw", Reason.ENDPOINT_SET),
        ("m1", "10.21.3.4:1433", "gw", Reason.TARGET_NOT_ALLOWED),
        ("m1", "www.corp.example", "gw", Reason.TARGET_NOT_ALLOWED),
        ("m1", "db.other.example", "gw", Reason.TARGET_NOT_ALLOWED),
        ("m1", "example.org", "gw", Reason.TARGET_NOT_ALLOWED),
        ("star1", "graph.microsoft.com", "star", Reason.FEATURE),
        ("star1", "www.corp.example", "star", Reason.ENDPOINT_SET),
        ("star1", "db.other.example", "star", Reason.TARGET_NOT_ALLOWED),
        ("star1", "vault.other.example", "star", Reason.TARGET_NOT_ALLOWED),
        ("star1", "example.org", "star", Reason.TARGET_NOT_ALLOWED),
        ("empty1", "graph.microsoft.com", "empty", Reason.TARGET_NOT_ALLOWED),
    ],
)
def test_decision_by_name(machine: str | None, host: str, prefix: str, reason: Reason) -> None:
    assert decide(machine, host, prefix) is reason


def test_endpoint_sets_of_another_tenant_are_not_used_even_when_their_name_is_listed() -> None:
    assert decide("foreign", "db.other.example", "other", OTHER_TENANT) is Reason.ENDPOINT_SET
    assert decide("foreign", "db1.corp.example:1433", "other", OTHER_TENANT) is Reason.TARGET_NOT_ALLOWED


def test_a_verdict_names_feature_and_rule() -> None:
    one = policy()
    verdict = one.decide(one.admit("gw", identity()), target("x.monitoring.azure.com"))
    assert verdict == Verdict(Reason.FEATURE, "Monitor", "*.monitoring.azure.com")
    verdict = one.decide(one.admit("gw", identity()), target("db1.corp.example:1433"))
    assert verdict == Verdict(Reason.ENDPOINT_SET, "Databases", "*.corp.example:1433")
    verdict = one.decide(one.admit("gw", None), target("management.cloud.example"))
    assert verdict == Verdict(Reason.CONTROL_PLANE, "ControlPlane", "management.cloud.example")


def test_a_feature_of_a_later_version_opens_nothing() -> None:
    one = policy(gw={"resourceId": "/g", "tenantId": TENANT, "allowedFeatures": ["FromTheFuture"]})
    assert one.decide(one.admit("gw", identity()), target("graph.microsoft.com")).reason is Reason.TARGET_NOT_ALLOWED
    assert rules_of(one.snapshot.gateways["gw"], one.snapshot, one.catalogue) == []


def test_the_patterns_for_the_machine_are_those_that_the_gateway_lets_through() -> None:
    one = policy()
    texts = [rule.pattern.text for rule in rules_of(one.snapshot.gateways["gw"], one.snapshot, one.catalogue)]
    assert texts[:2] == ["*.corp.example:1433", "10.20.0.0/16:1433"]
    assert "*.monitoring.azure.com" in texts
    assert "graph.microsoft.com" not in texts


SAMPLES = {
    AddressClass.PUBLIC: "20.1.2.3",
    AddressClass.PRIVATE: "10.20.0.1",
    AddressClass.LOOPBACK: "127.0.0.1",
    AddressClass.SHARED: "100.64.0.1",
    AddressClass.LINK_LOCAL: "169.254.1.1",
    AddressClass.METADATA: "169.254.169.254",
    AddressClass.MULTICAST: "224.0.0.1",
    AddressClass.UNSPECIFIED: "0.0.0.0",
    AddressClass.RESERVED: "198.18.0.1",
}
PERMITTED = {
    "nothing": {AddressClass.PUBLIC},
    "allow_private": {AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK, AddressClass.SHARED},
    "open_networks": {AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK, AddressClass.SHARED,
                      AddressClass.RESERVED},
}  # fmt: skip


def test_there_is_a_sample_of_every_class() -> None:
    assert set(SAMPLES) == set(AddressClass)
    assert all(classify(ip_address(text)) is kind for kind, text in SAMPLES.items())


@pytest.mark.parametrize("permission", PERMITTED)
@pytest.mark.parametrize("kind", AddressClass)
def test_a_resolved_address_is_taken_only_when_its_class_is_open(kind: AddressClass, permission: str) -> None:
    one = policy((ip_network("0.0.0.0/0"), ip_network("::/0")) if permission == "open_networks" else ())
    host = "db1.corp.example:1433" if permission == "allow_private" else "x.monitoring.azure.com"
    by_name = one.decide(one.admit("gw", identity()), target(host))
    assert by_name.is_allowed
    verdict = one.decide_address(by_name, one.snapshot.gateways["gw"], target(host), ip_address(SAMPLES[kind]))
    if kind in PERMITTED[permission]:
        assert verdict == by_name
    else:
        assert verdict.reason is Reason.ADDRESS_NOT_ALLOWED
        assert (verdict.feature, verdict.rule) == (by_name.feature, by_name.rule)
        assert SAMPLES[kind] in verdict.detail
        assert kind in verdict.detail


def test_open_networks_open_nothing_outside_of_them() -> None:
    one = policy((ip_network("10.1.0.0/16"),))
    gateway, host = one.snapshot.gateways["gw"], target("x.monitoring.azure.com")
    by_name = one.decide(one.admit("gw", identity()), host)
    assert one.decide_address(by_name, gateway, host, ip_address("10.1.2.3")).is_allowed
    assert not one.decide_address(by_name, gateway, host, ip_address("10.2.2.3")).is_allowed
    assert not one.decide_address(by_name, gateway, host, ip_address("fd00::1")).is_allowed
    assert not one.decide_address(by_name, gateway, host, ip_address("::ffff:169.254.169.254")).is_allowed


def test_a_private_address_by_literal_needs_its_rule_to_allow_private_too() -> None:
    body: Any = {"name": "Databases", "tenantId": TENANT, "endpoints": ["10.20.0.0/16:1433"], "allowPrivate": False}
    one = policy(**{"/s/databases": body})
    host = target("10.20.0.1:1433")
    by_name = one.decide(one.admit("gw", identity()), host)
    assert by_name.reason is Reason.ENDPOINT_SET
    verdict = one.decide_address(by_name, one.snapshot.gateways["gw"], host, ip_address("10.20.0.1"))
    assert verdict.reason is Reason.ADDRESS_NOT_ALLOWED


def test_a_set_that_allows_private_counts_beside_more_specific_rules_that_do_not() -> None:
    narrow: Any = {"name": "Web", "tenantId": TENANT, "endpoints": ["db1.corp.example:1433"], "allowPrivate": False}
    one = policy(**{"/s/web": narrow})
    host = target("db1.corp.example:1433")
    gateway = one.snapshot.gateways["star"]
    by_name = one.decide(one.admit("star", identity("star1")), host)
    assert by_name.rule == "db1.corp.example:1433"
    assert one.decide_address(by_name, gateway, host, ip_address("10.0.0.1")).is_allowed


def test_nodes_that_learnt_the_same_in_another_order_decide_the_same() -> None:
    twin: Any = {"name": "Web", "tenantId": TENANT, "endpoints": ["*.corp.example:1433"], "allowPrivate": False}
    batch = entries(**{"/s/web": twin})
    verdicts = set()
    for order in (batch, batch[::-1]):
        one = Policy(Snapshot().apply(order, 1), shipped_catalogue())
        verdicts.add(one.decide(one.admit("star", identity("star1")), target("db1.corp.example:1433")))
    assert len(verdicts) == 1


def test_a_refused_admission_stays_refused_for_every_target() -> None:
    one = policy()
    refused = Admission(Verdict(Reason.CERTIFICATE_REVOKED))
    assert one.decide(refused, target("management.cloud.example")).reason is Reason.CERTIFICATE_REVOKED


# Few names and many rules about them, so that rules overlap.
endpoints = st.sampled_from(
    ["a.corp.example", "b.corp.example", "*.corp.example", "*.a.corp.example", "a*.corp.example", "*.corp.example:*",
     "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "x.monitoring.azure.com"]
)  # fmt: skip
sets = st.lists(st.tuples(endpoints, st.booleans()), min_size=1, max_size=6)
wanted_targets = st.sampled_from(
    ["a.corp.example", "b.corp.example", "x.a.corp.example", "ab.corp.example", "a.corp.example:80", "10.1.1.1",
     "10.2.0.0", "x.monitoring.azure.com"]
).map(target)  # fmt: skip
addresses = st.sampled_from(list(SAMPLES.values())).map(ip_address)


def lets_through(rules: list[tuple[str, bool]], host: Target, address: Any, features: list[str]) -> bool:
    gateway = {"resourceId": "/g", "tenantId": TENANT, "allowedFeatures": features}
    facts = [entry for entry in entries(gw=gateway) if entry.kind is not Kind.ENDPOINT_SET]
    for number, (endpoint, allow_private) in enumerate(rules):
        body = {"name": f"s{number}", "tenantId": TENANT, "endpoints": [endpoint], "allowPrivate": allow_private}
        facts.append(Entry(Kind.ENDPOINT_SET, f"/s/{number}-{endpoint}-{allow_private}", 1, body))
    one = Policy(Snapshot().apply(facts, 1), shipped_catalogue())
    by_name = one.decide(one.admit("gw", identity()), host)
    if not by_name.is_allowed:
        return False
    return one.decide_address(by_name, one.snapshot.gateways["gw"], host, address).is_allowed


@given(sets, st.integers(0, 5), wanted_targets, addresses)
def test_taking_a_rule_away_never_lets_more_through(
    rules: list[tuple[str, bool]], number: int, host: Target, address: Any
) -> None:
    fewer = [rule for index, rule in enumerate(rules) if index != number % len(rules)]
    if lets_through(fewer, host, address, ["*"]):
        assert lets_through(rules, host, address, ["*"])


@given(sets, wanted_targets, addresses)
def test_taking_a_feature_away_never_lets_more_through(
    rules: list[tuple[str, bool]], host: Target, address: Any
) -> None:
    names = [f"s{number}" for number in range(len(rules))]
    if lets_through(rules, host, address, names):
        assert lets_through(rules, host, address, [*names, "Monitor"])
        assert lets_through(rules, host, address, ["*"])


@given(sets, wanted_targets, st.sampled_from(["169.254.169.254", "168.63.129.16", "fe80::1", "0.0.0.0", "ff02::1"]))
def test_no_rule_opens_metadata_or_link_local_addresses(
    rules: list[tuple[str, bool]], host: Target, address: str
) -> None:
    assert not lets_through(rules, host, ip_address(address), ["*"])


def test_only_allowing_reasons_are_allowed() -> None:
    assert {reason for reason in Reason if Verdict(reason).is_allowed} == ALLOWING
