"""The way that a check takes is the agent's own."""

import pytest

from arcgate.agent.check.model import Endpoint
from arcgate.agent.check.path import path_to
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.names import HostName, parse_target
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import ConnectionType, Goal, Routing, Way
from arcgate.core.urls import parse_url

CONTROL = (parse_pattern("*.his.arcgate.test"),)
GOAL = Goal(gateway_host="p.gw.arcgate.test", allowed=(parse_pattern("a.example.com"),), control=CONTROL)
FRONT = GatewayPlace(HostName("front.gw.arcgate.test"))
PROXY = parse_url("http://proxy.example.com:3128")
HIS = Endpoint(parse_target("gbl.his.arcgate.test:443"), "agent service")
OTHER = Endpoint(parse_target("b.example.com:443"), "other")


@pytest.mark.parametrize(
    ("now", "endpoint", "way", "gateway", "with_certificate"),
    [
        (Surroundings(Routing(GOAL)), HIS, Way.GATEWAY, "p.gw.arcgate.test", True),
        (Surroundings(Routing(GOAL), front=FRONT, control=CONTROL), HIS, Way.GATEWAY, "p.gw.arcgate.test", True),
        (Surroundings(front=FRONT, control=CONTROL), HIS, Way.GATEWAY, "front.gw.arcgate.test", False),
        (
            Surroundings(Routing(GOAL, ConnectionType.DIRECT), front=FRONT, control=CONTROL),
            HIS,
            Way.GATEWAY,
            "front.gw.arcgate.test",
            False,
        ),
        (Surroundings(front=FRONT, control=CONTROL), OTHER, Way.DIRECT, None, True),
        (Surroundings(Routing(GOAL)), OTHER, Way.DIRECT, None, True),
        (Surroundings(control=CONTROL), HIS, Way.DIRECT, None, True),
    ],
)
def test_the_way_follows_gateway_front_and_route(
    now: Surroundings, endpoint: Endpoint, way: Way, gateway: str | None, with_certificate: bool
) -> None:
    path = path_to(endpoint, now)
    assert path.route.way is way
    assert (path.gateway.name if path.gateway else None) == gateway
    assert path.with_certificate is with_certificate


def test_the_enterprise_proxy_stands_before_gateways_and_other_hosts_alike() -> None:
    now = Surroundings(Routing(GOAL, has_enterprise_proxy=True), proxy=PROXY)
    assert path_to(HIS, now).proxy is PROXY
    assert path_to(OTHER, now).proxy is PROXY


def test_the_gateway_itself_is_reached_as_the_machines_own() -> None:
    endpoint = Endpoint(parse_target("p.gw.arcgate.test:443"), "Arc gateway", is_gateway=True)
    path = path_to(endpoint, Surroundings(Routing(GOAL)))
    assert path.gateway is not None
    assert path.gateway.host == "p.gw.arcgate.test"
    assert path.with_certificate
