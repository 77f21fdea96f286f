"""Which endpoints a check tries. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from arcgate.agent.check.model import Endpoint
from arcgate.agent.cloud import Cloud
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.catalogue import Catalogue, shipped_catalogue
from arcgate.core.errors import InputError
from arcgate.core.names import HostName, Target, parse_host_name, parse_target
from arcgate.core.patterns import EndpointPattern
from arcgate.core.urls import parse_url

HTTPS = 443
ALL_EXTENSIONS = "all"
SHORT_NAMES = {"sql": "sqlserver"}
"""Names of the original's command for scenarios."""
MEMBERS = {"*.<region>.arcdataservices.com": ("dataprocessingservice", "telemetry")}
"""Names that exist behind endpoints that stand for many."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants checked beside the cloud's own endpoints."""

    location: str = ""
    his_endpoint: str = ""
    """Regional URL that the machine was given when it was connected; goes before the location."""
    extra: tuple[Target, ...] = ()
    include_all: bool = False
    extensions: str = ""
    """Kind of extensions whose endpoints are wanted."""


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
    if wishes.extensions:
        found += extension_endpoints(shipped_catalogue(), wishes.extensions, wishes.location)
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
        Endpoint(parse_url(cloud.his).target, "agent service", may_be_private=True),
    ]
    if wishes.his_endpoint:
        found.append(_of_region(parse_url(wishes.his_endpoint).target))
    elif wishes.location:
        host = parse_host_name(f"{wishes.location}.his.{cloud.domain}")
        found.append(_of_region(Target(host, parse_url(cloud.his).target.port)))
    download = Target(HostName(f"download.{cloud.domain}"), packages.port)
    return [*found, Endpoint(packages, "packages"), Endpoint(download, "downloads")]


def _of_region(target: Target) -> Endpoint:
    return Endpoint(target, "agent service of the region", may_be_private=True)


def extension_endpoints(catalogue: Catalogue, name: str, location: str) -> list[Endpoint]:
    """Return what extensions of that kind need: sql, the name of a scenario, or all.

    Of endpoints that stand for many names, only those of which one is known. Raises InputError (EXTENSION_UNKNOWN).
    """
    wanted = SHORT_NAMES.get(name.lower(), name.lower())
    chosen = [one for one in catalogue.scenarios.values() if wanted in {ALL_EXTENSIONS, one.name.lower()}]
    if not chosen:
        raise InputError(
            "EXTENSION_UNKNOWN",
            f"Nothing is known of what the extension {name[:100]!r} needs.",
            remedy=f"Choose one of: {', '.join((ALL_EXTENSIONS, *SHORT_NAMES, *catalogue.scenarios))}.",
        )
    return [
        Endpoint(target, f"{scenario.title}: {one.purpose}", uses_tls=target.port == HTTPS)
        for scenario in chosen
        for one in scenario.endpoints
        for target in _known_targets(one.text, location)
    ]


def _known_targets(text: str, location: str) -> list[Target]:
    names = [text.replace("*", one, 1) for one in MEMBERS.get(text, ())] or [text]
    filled = [name.replace("<region>", location) if location else name for name in names]
    return [parse_target(name, HTTPS) for name in filled if not set("*<") & set(name)]


def _other(target: Target, use: str) -> Endpoint:
    # What speaks TLS on other ports is nobody's to guess; there the connection itself is the check.
    return Endpoint(target, use, uses_tls=target.port == HTTPS and not target.is_literal)


def _each_once(found: list[Endpoint]) -> tuple[Endpoint, ...]:
    unique: dict[Target, Endpoint] = {}
    for one in found:
        unique.setdefault(one.target, one)
    return tuple(unique.values())
