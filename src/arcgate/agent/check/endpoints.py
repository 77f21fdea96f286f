"""Which endpoints a check tries. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from arcgate.agent.check.model import Endpoint
from arcgate.agent.cloud import Cloud
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.names import HostName, Target, parse_host_name
from arcgate.core.patterns import EndpointPattern
from arcgate.core.urls import parse_url


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants checked beside the cloud's own endpoints."""

    location: str = ""
    his_endpoint: str = ""
    """Regional URL that the machine was given when it was connected; goes before the location."""
    extra: tuple[Target, ...] = ()
    include_all: bool = False


def gateway_in_use(now: Surroundings) -> GatewayPlace | None:
    """Return the gateway that this machine's agent uses: its own, or the cloud's front before it has one."""
    return now.gateway if now.routing.uses_gateway else now.front


def endpoints(now: Surroundings, cloud: Cloud, wishes: Wishes) -> tuple[Endpoint, ...]:
    """Return the endpoints to check, each once, the gateway first; raises InputError for a malformed location."""
    found: list[Endpoint] = []
    if (gateway := gateway_in_use(now)) is not None:
        found.append(Endpoint(Target(gateway.host, gateway.port), "Arc gateway", is_gateway=True))
    found += _of_cloud(cloud, wishes)
    found += [_other(target, "check.endpoints or --endpoint") for target in wishes.extra]
    if wishes.include_all:
        found += [_other(target, "allowed by the gateway") for target in exact_targets(now.routing.goal.allowed)]
    return _each_once(found)


def exact_targets(patterns: Iterable[EndpointPattern]) -> list[Target]:
    """Return the targets of the patterns that name one host and one port."""
    return [
        Target(HostName(pattern.host), pattern.port)
        for pattern in patterns
        if isinstance(pattern.host, str) and "*" not in pattern.host and pattern.port is not None
    ]


def _of_cloud(cloud: Cloud, wishes: Wishes) -> list[Endpoint]:
    packages = parse_url(cloud.packages).target
    found = [
        Endpoint(parse_url(cloud.resource_manager).target, "resource manager"),
        Endpoint(parse_url(cloud.login).target, "sign-in"),
        Endpoint(parse_url(cloud.his).target, "agent service"),
    ]
    if wishes.his_endpoint:
        found.append(Endpoint(parse_url(wishes.his_endpoint).target, "agent service of the region"))
    elif wishes.location:
        host = parse_host_name(f"{wishes.location}.his.{cloud.domain}")
        found.append(Endpoint(Target(host, parse_url(cloud.his).target.port), "agent service of the region"))
    download = Target(HostName(f"download.{cloud.domain}"), packages.port)
    return [*found, Endpoint(packages, "packages"), Endpoint(download, "downloads")]


def _other(target: Target, use: str) -> Endpoint:
    # What speaks TLS on other ports is nobody's to guess; there the connection itself is the check.
    return Endpoint(target, use, uses_tls=target.port == 443 and not target.is_literal)


def _each_once(found: list[Endpoint]) -> tuple[Endpoint, ...]:
    unique: dict[Target, Endpoint] = {}
    for one in found:
        unique.setdefault(one.target, one)
    return tuple(unique.values())
