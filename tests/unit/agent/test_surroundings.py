"""What surroundings say about gateways, control hosts and the enterprise proxy."""

from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.names import HostName, parse_target
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import Goal, Routing, parse_proxy_bypass
from arcgate.core.urls import parse_url

PROXY = parse_url("http://user:secret@proxy.example.com:3128")
GATEWAY = parse_target("p.gw.arcgate.test:443")


def test_a_place_is_dialled_by_its_name_unless_an_address_stands_in() -> None:
    place = GatewayPlace(HostName("p.gw.arcgate.test"))
    assert place.dialled == GATEWAY
    assert place.name == "p.gw.arcgate.test"
    moved = GatewayPlace(HostName("p.gw.arcgate.test"), 8443, parse_target("192.0.2.1:9443"))
    assert moved.dialled == parse_target("192.0.2.1:9443")
    assert moved.name == "p.gw.arcgate.test:8443"


def test_control_hosts_are_those_of_the_cloud_and_of_the_goal() -> None:
    goal = Goal(control=(parse_pattern("*.his.arcgate.test"),))
    now = Surroundings(Routing(goal), control=(parse_pattern("login.arcgate.test:8443"),))
    assert now.is_control(parse_target("eastus.his.arcgate.test:443"))
    assert now.is_control(parse_target("login.arcgate.test:8443"))
    assert not now.is_control(parse_target("login.arcgate.test:443"))


def test_the_proxy_stands_before_the_gateway_unless_a_bypass_names_it() -> None:
    assert Surroundings(proxy=PROXY).proxy_towards(GATEWAY) is PROXY
    assert Surroundings().proxy_towards(GATEWAY) is None
    bypassing = Routing(Goal(), proxy_bypass=parse_proxy_bypass(["*.gw.arcgate.test"]))
    assert Surroundings(bypassing, proxy=PROXY).proxy_towards(GATEWAY) is None


def test_the_proxys_password_is_in_no_text_of_it() -> None:
    assert "secret" not in repr(Surroundings(proxy=PROXY))
