"""The way that a check takes to one endpoint: that of the agent's own requests. Pure."""

from dataclasses import dataclass

from arcgate.agent.check.model import Endpoint
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.routing import Route, Way
from arcgate.core.urls import Url


@dataclass(frozen=True, slots=True)
class Path:
    """The way that a check takes to one endpoint."""

    route: Route
    proxy: Url | None = None
    gateway: GatewayPlace | None = None
    with_certificate: bool = True


def path_to(endpoint: Endpoint, now: Surroundings) -> Path:
    """Return the way that the agent's own requests to the endpoint take. Pure."""
    own = now.gateway if now.routing.uses_gateway else None
    if endpoint.is_gateway:
        place = own or now.front
        assert place is not None, "a gateway endpoint comes from a gateway"
        reason = "it is the machine's gateway" if own is not None else "it is the cloud's front gateway"
        return Path(Route(Way.GATEWAY, reason), now.proxy_towards(place.dialled), place, own is not None)
    if own is None and now.front is not None and now.is_control(endpoint.target):
        route = Route(Way.GATEWAY, "the cloud is reached through its front gateway")
        return Path(route, now.proxy_towards(now.front.dialled), now.front, with_certificate=False)
    route = now.routing.route(endpoint.target)
    if route.way is Way.GATEWAY and own is not None:
        return Path(route, now.proxy_towards(own.dialled), own)
    return Path(route, now.proxy if route.way is Way.ENTERPRISE else None)
