"""Which endpoints are checked."""

import pytest

from arcgate.agent.check.endpoints import Wishes, endpoints, exact_targets
from arcgate.agent.cloud import Cloud
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.errors import InputError
from arcgate.core.names import HostName, parse_target
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import ConnectionType, Goal, Routing

CLOUD = Cloud(
    "Test",
    HostName("arcgate.test"),
    "https://management.arcgate.test",
    "https://login.arcgate.test",
    "https://gbl.his.arcgate.test",
    "https://packages.arcgate.test:8443",
)
GOAL = Goal(
    gateway_host="p.gw.arcgate.test",
    allowed=tuple(parse_pattern(one) for one in ("a.example.com", "*.example.org", "10.0.0.0/8", "b.example.com:*")),
)
FRONT = GatewayPlace(HostName("front.gw.arcgate.test"))


def _names(now: Surroundings, **wishes: object) -> list[str]:
    return [one.name for one in endpoints(now, CLOUD, Wishes(**wishes))]  # type: ignore[arg-type]


def test_the_gateway_comes_first_and_then_the_clouds_own_names() -> None:
    assert _names(Surroundings(Routing(GOAL)), location="eastus") == [
        "p.gw.arcgate.test",
        "management.arcgate.test",
        "login.arcgate.test",
        "gbl.his.arcgate.test",
        "eastus.his.arcgate.test",
        "packages.arcgate.test:8443",
        "download.arcgate.test:8443",
    ]


def test_without_a_gateway_of_its_own_the_front_is_checked() -> None:
    assert _names(Surroundings(front=FRONT))[0] == "front.gw.arcgate.test"
    direct = Surroundings(Routing(GOAL, ConnectionType.DIRECT), front=FRONT)
    assert _names(direct)[0] == "front.gw.arcgate.test"
    assert _names(Surroundings())[0] == "management.arcgate.test"


def test_the_regional_endpoint_that_the_machine_was_given_goes_before_its_location() -> None:
    names = _names(Surroundings(), location="eastus", his_endpoint="https://west.his.arcgate.test")
    assert "west.his.arcgate.test" in names
    assert "eastus.his.arcgate.test" not in names


def test_every_endpoint_is_checked_once() -> None:
    extra = (parse_target("login.arcgate.test:443"), parse_target("a.example.com:443"))
    names = _names(Surroundings(Routing(GOAL)), extra=extra, include_all=True)
    assert names.count("login.arcgate.test") == names.count("a.example.com") == 1


def test_all_means_the_patterns_that_name_one_host_and_port() -> None:
    assert exact_targets(GOAL.allowed) == [parse_target("a.example.com:443")]


def test_tls_is_expected_on_443_only_outside_the_cloud() -> None:
    extra = tuple(parse_target(one) for one in ("a.example.com:443", "a.example.com:22", "192.0.2.1:443"))
    found = endpoints(Surroundings(), CLOUD, Wishes(extra=extra))
    assert [one.uses_tls for one in found[-3:]] == [True, False, False]
    assert all(one.uses_tls for one in found[:-3])


def test_a_location_that_is_no_name_is_refused() -> None:
    with pytest.raises(InputError):
        _names(Surroundings(), location="east us")


def test_the_extension_for_sql_server_has_the_names_of_its_region() -> None:
    names = _names(Surroundings(), location="eastus2", extensions="sql")
    assert "telemetry.eastus2.arcdataservices.com" in names
    assert "san-af-eastus2-prod.azurewebsites.net" in names
    assert not any("*" in name or "<" in name for name in names)


def test_without_a_location_only_names_that_are_the_same_everywhere_are_checked() -> None:
    assert "graph.microsoft.com" in _names(Surroundings(), extensions="sql")
    assert not any("arcdataservices" in name for name in _names(Surroundings(), extensions="sql"))


def test_all_extensions_hold_those_of_every_scenario() -> None:
    everything = set(_names(Surroundings(), location="eastus", extensions="all"))
    assert everything > set(_names(Surroundings(), location="eastus", extensions="AzureMonitorAgent"))
    assert "eastus.handler.control.monitor.azure.com" in everything


def test_an_extension_that_nobody_knows_is_an_input_error() -> None:
    with pytest.raises(InputError, match="nothing"):
        _names(Surroundings(), extensions="nothing")
