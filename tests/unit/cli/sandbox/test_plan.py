from ipaddress import ip_network
from pathlib import Path

from arcgate.cli.configuration_checks import find_contradictions
from arcgate.cli.sandbox.plan import EndpointSetPlan, SandboxOptions, plan_configuration, plan_endpoint_sets
from arcgate.core.errors import Place
from arcgate.core.names import parse_target
from arcgate.core.patterns import parse_pattern

NAME, LITERAL = parse_target("db.example:5432"), parse_target("10.0.0.5:443")
NETWORK = ip_network("10.1.0.0/16")


def test_without_targets_there_is_no_endpoint_set() -> None:
    assert plan_endpoint_sets(SandboxOptions()) == []


def test_a_target_may_be_private_when_no_network_is_named() -> None:
    assert plan_endpoint_sets(SandboxOptions(allow=(NAME, LITERAL))) == [
        EndpointSetPlan("sandbox", ("db.example:5432", "10.0.0.5:443"), True)
    ]


def test_with_networks_a_name_leads_into_those_alone_and_an_address_is_meant() -> None:
    assert plan_endpoint_sets(SandboxOptions(allow=(NAME, LITERAL), networks=(NETWORK,))) == [
        EndpointSetPlan("sandbox", ("10.0.0.5:443",), True),
        EndpointSetPlan("sandbox-2", ("db.example:5432", "10.1.0.0/16:*"), False),
    ]


def test_every_planned_endpoint_is_a_pattern() -> None:
    options = SandboxOptions((NAME, parse_target("[fd00::1]:443")), (NETWORK, ip_network("fd00::/8")))
    patterns = [parse_pattern(text) for one in plan_endpoint_sets(options) for text in one.endpoints]
    assert any(pattern.matches(parse_target("[fd12::1]:99")) for pattern in patterns)
    assert any(pattern.matches(parse_target("[fd00::1]:443")) for pattern in patterns)


def test_the_planned_configuration_agrees_with_itself(tmp_path: Path) -> None:
    configuration = plan_configuration(
        SandboxOptions(networks=(NETWORK,), dns="127.0.0.1:5353"), tmp_path, ["127.0.0.1"]
    )
    assert find_contradictions(configuration, lambda path: Place("plan", 0, ".".join(path))) == []
    assert configuration.gateway.open_networks == (NETWORK,)
    assert configuration.listen.port == 0
