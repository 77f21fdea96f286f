"""Arc Proxy's routes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from arcgate.core.errors import InputError
from arcgate.core.names import HostName, Target, parse_authority
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import (
    PROXY_BYPASS_GROUPS,
    ConnectionType,
    Goal,
    Routing,
    Way,
    bypassed_control_hosts,
    parse_proxy_bypass,
)

GOAL = Goal(
    revision=7,
    gateway_id="/gateways/gw",
    gateway_host="abc.gw.cloud.example",
    allowed=(parse_pattern("*.monitoring.azure.com"), parse_pattern("10.20.0.0/16:1433")),
    control=(parse_pattern("management.cloud.example"), parse_pattern("*.his.cloud.example")),
    bypass=(HostName("skip.monitoring.azure.com"), HostName("login.cloud.example")),
)


def target(text: str) -> Target:
    return parse_authority((text if text.rpartition("]")[2].count(":") else f"{text}:443").encode())


def way(host: str, goal: Goal = GOAL, **settings: Any) -> Way:
    return Routing(goal, **settings).route(target(host)).way


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("management.cloud.example", Way.GATEWAY),
        ("eastus.his.cloud.example", Way.GATEWAY),
        ("x.monitoring.azure.com", Way.GATEWAY),
        ("X.Monitoring.azure.com.", Way.GATEWAY),
        ("10.20.1.1:1433", Way.GATEWAY),
        ("x.monitoring.azure.com:80", Way.DIRECT),
        ("skip.monitoring.azure.com", Way.DIRECT),
        ("SKIP.monitoring.azure.com", Way.DIRECT),
        ("example.org", Way.DIRECT),
        ("10.20.1.1", Way.DIRECT),
    ],
)
def test_with_a_gateway_its_targets_go_through_it_and_others_as_if_there_were_none(host: str, expected: Way) -> None:
    assert way(host) is expected
    other = Way.ENTERPRISE if expected is Way.DIRECT else expected
    assert way(host, has_enterprise_proxy=True) is other


@pytest.mark.parametrize(
    ("goal", "connection_type", "uses"),
    [
        (GOAL, ConnectionType.DEFAULT, True),
        (GOAL, ConnectionType.GATEWAY, True),
        (GOAL, ConnectionType.DIRECT, False),
        (Goal(), ConnectionType.DEFAULT, False),
        (Goal(), ConnectionType.GATEWAY, False),
        (Goal(), ConnectionType.DIRECT, False),
    ],
)
def test_the_gateway_is_used_when_associated_unless_the_machine_says_direct(
    goal: Goal, connection_type: ConnectionType, uses: bool
) -> None:
    routing = Routing(goal, connection_type)
    assert routing.uses_gateway is uses
    assert (routing.route(target("x.monitoring.azure.com")).way is Way.GATEWAY) is uses


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.org", Way.GATEWAY),
        ("8.8.8.8:53", Way.GATEWAY),
        ("x.monitoring.azure.com:80", Way.GATEWAY),
        ("10.20.1.1", Way.DIRECT),
        ("skip.monitoring.azure.com", Way.DIRECT),
        ("169.254.169.254:80", Way.REFUSE),
    ],
)
def test_a_gateway_in_audit_mode_takes_all_that_it_could_reach(host: str, expected: Way) -> None:
    assert way(host, replace(GOAL, takes_all=True)) is expected


def test_a_reason_tells_why_a_route_was_taken() -> None:
    reasons = {
        Routing(GOAL).route(target("management.cloud.example")).reason,
        Routing(GOAL).route(target("x.monitoring.azure.com")).reason,
        Routing(GOAL).route(target("skip.monitoring.azure.com")).reason,
        Routing(GOAL).route(target("example.org")).reason,
        Routing(GOAL, ConnectionType.DIRECT).route(target("example.org")).reason,
        Routing(Goal()).route(target("example.org")).reason,
        Routing(GOAL, proxy_bypass=parse_proxy_bypass(["example.org"])).route(target("example.org")).reason,
        Routing(GOAL).route(target("169.254.169.254")).reason,
    }
    assert len(reasons) == 8
    assert all(reasons)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:40343", Way.REFUSE),
        ("127.9.9.9:40343", Way.REFUSE),
        ("[::1]:40343", Way.REFUSE),
        ("[::ffff:127.0.0.1]:40343", Way.REFUSE),
        ("0.0.0.0:40343", Way.REFUSE),
        ("[::]:40343", Way.REFUSE),
        ("localhost:40343", Way.REFUSE),
        ("LOCALHOST.:40343", Way.REFUSE),
        ("127.0.0.1:8080", Way.DIRECT),
        ("10.0.0.1:40343", Way.DIRECT),
        ("example.org:40343", Way.DIRECT),
    ],
)
def test_arc_proxy_does_not_connect_to_itself(host: str, expected: Way) -> None:
    assert way(host, own_ports=frozenset({40343})) is expected


@pytest.mark.parametrize(
    "host", ["169.254.169.254:80", "168.63.129.16", "169.254.1.1", "0.0.0.0", "224.0.0.1", "[fe80::1]:443",
    "[ff02::1]:443",
             "[::ffff:169.254.169.254]:80", "[::]:443"]
)  # fmt: skip
def test_metadata_and_link_local_addresses_are_refused_even_when_bypassed(host: str) -> None:
    assert way(host) is Way.REFUSE
    everything = parse_proxy_bypass(["0.0.0.0/0", "::/0"])
    assert way(host, proxy_bypass=everything) is Way.REFUSE


def test_proxy_bypass_goes_before_gateway_and_enterprise_proxy() -> None:
    bypass = parse_proxy_bypass(["ARM", "*.monitoring.azure.com"])
    for host in ("management.azure.com", "x.monitoring.azure.com", "x.monitoring.azure.com:80"):
        assert way(host, has_enterprise_proxy=True, proxy_bypass=bypass) is Way.DIRECT
    assert way("graph.microsoft.com", has_enterprise_proxy=True, proxy_bypass=bypass) is Way.ENTERPRISE


@pytest.mark.parametrize("group", PROXY_BYPASS_GROUPS)
def test_a_group_of_proxy_bypass_stands_for_its_hosts_on_every_port(group: str) -> None:
    for spelling in (group, group.upper(), group.lower(), f" {group} "):
        patterns = parse_proxy_bypass([spelling])
        assert len(patterns) == len(PROXY_BYPASS_GROUPS[group])
        assert all(pattern.port is None for pattern in patterns)


@pytest.mark.parametrize(
    ("value", "port"),
    [("a.example", None), ("a.example:443", 443), ("a.example:80", 80), ("a.example:*", None), ("10.0.0.0/8", None),
     ("10.0.0.0/8:443", 443), ("[::1]", None), ("::1", None), ("fd00::443", None), ("[fd00::]/8:443", 443)],
)  # fmt: skip
def test_a_host_of_proxy_bypass_without_a_port_is_bypassed_on_every_port(value: str, port: int | None) -> None:
    assert parse_proxy_bypass([value])[0].port == port


@pytest.mark.parametrize("value", ["*", "*.com", "", "http://a.example", "a.example:0"])
def test_a_value_of_proxy_bypass_that_is_no_pattern_is_refused(value: str) -> None:
    with pytest.raises(InputError):
        parse_proxy_bypass(["ARM", value])


@pytest.mark.parametrize(
    "goal", [GOAL, Goal(), replace(GOAL, takes_all=True), Goal(revision=3, gateway_host="h.example", gateway_port=8443)]
)
def test_a_goal_read_from_its_json_is_the_same(goal: Goal) -> None:
    assert Goal.from_json(json.loads(json.dumps(goal.to_json()))) == goal


def test_a_gateways_url_leaves_the_usual_port_out() -> None:
    assert GOAL.gateway_url == "https://abc.gw.cloud.example"
    assert Goal(gateway_host="h.example", gateway_port=8443).gateway_url == "https://h.example:8443"
    assert Goal().gateway_url == ""


@pytest.mark.parametrize(
    "change",
    [
        {"allowed": ["*"]},
        {"allowed": None},
        {"control": [5]},
        {"gateway": {"host": "x"}},
        {"revision": "x"},
        {"bypass": None},
    ],
)
def test_a_broken_goal_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, InputError, AttributeError)):
        Goal.from_json({**GOAL.to_json(), **change})


def test_the_route_names_the_pattern_that_decided() -> None:
    bypass = parse_proxy_bypass(["10.1.0.0/16", "*.corp.example"])
    routing = Routing(GOAL, proxy_bypass=bypass)
    assert routing.route(target("10.1.2.3")).rule == "10.1.0.0/16"
    assert routing.route(target("wiki.corp.example")).rule == "*.corp.example"
    allowed = routing.route(target("a.monitoring.azure.com"))
    assert (allowed.way, allowed.rule) == (Way.GATEWAY, "*.monitoring.azure.com")
    assert routing.route(target("nobody.example.org")).rule == ""


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        ("AAD", ["login.cloud.example"]),
        ("arm", ["management.cloud.example"]),
        ("Arc", ["gbl.his.cloud.example", "eastus.his.cloud.example"]),
        ("AMA", []),
        ("login.cloud.example", []),
    ],
)
def test_groups_of_proxy_bypass_stand_for_the_hosts_of_our_own_cloud_too(group: str, hosts: list[str]) -> None:
    patterns = bypassed_control_hosts((group,), "cloud.example")
    for host in ("login", "management", "gbl.his", "eastus.his", "packages", "download"):
        name = f"{host}.cloud.example"
        assert any(pattern.matches(target(name)) for pattern in patterns) is (name in hosts)


@pytest.mark.parametrize("value", ["x", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", 5, None])
def test_a_goal_with_authorities_that_are_no_certificates_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Goal.from_json({**GOAL.to_json(), "authorities": value})


def test_a_goal_of_before_has_no_extensions_and_announces_nothing() -> None:
    document = GOAL.to_json()
    del document["extensions"], document["authorities"]
    assert Goal.from_json(document) == GOAL
