"""What must be open for machines: one name, the cloud's seven, or all that goes without a gateway. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from arcgate.core.catalogue import Catalogue
from arcgate.core.errors import InputError
from arcgate.core.names import HostName, Target
from arcgate.core.patterns import DEFAULT_PORT, EndpointPattern, parse_pattern

GATEWAY_INFIX = ".gw."
"""Stands between a gateway's own prefix and the cloud's domain."""
HTTP = 80


@dataclass(frozen=True, slots=True)
class Opening:
    """One thing to open, and what for."""

    pattern: EndpointPattern
    use: str

    @property
    def host(self) -> str:
        """The host pattern or network as text, without the port."""
        return str(self.pattern.host)

    @property
    def port(self) -> int:
        """The port; patterns for every port count as those of HTTPS."""
        return self.pattern.port or DEFAULT_PORT

    @property
    def is_network(self) -> bool:
        """Whether it is a network of addresses."""
        return not isinstance(self.pattern.host, str)

    @property
    def has_star(self) -> bool:
        """Whether it stands for many names."""
        return "*" in self.host

    @property
    def suffix_form(self) -> str:
        """The host with at most a leading star: what firewalls know that have no star inside of a label."""
        if not self.has_star or self.host.startswith("*."):
            return self.host
        return f"*.{self.host[self.host.rindex('*') :].partition('.')[2]}"

    @property
    def expression(self) -> str:
        """A regular expression of the plain kind that exactly the names of a host with a star match."""
        if self.host.startswith("*."):
            return rf"^([^.]+\.)+{re.escape(self.host[2:])}$"
        return f"^{re.escape(self.host).replace(re.escape('*'), '[^.]*')}$"

    @property
    def is_widened(self) -> bool:
        """Whether `suffix_form` holds more names than it should."""
        return self.suffix_form != self.host


@dataclass(slots=True)
class Rules:
    """A text for a firewall, with notes for the person who puts it there."""

    text: str
    notes: list[str] = field(default_factory=list)


def for_gateways(gateways: Iterable[Target], *, seven: bool) -> list[Opening]:
    """Return the gateways' names; with `seven` also the cloud's own, for machines that go to them past the gateway.

    Raises InputError (DOMAIN_UNKNOWN) for a gateway whose name does not tell the cloud's domain.
    """
    found: list[Opening] = []
    for gateway in gateways:
        found.append(_opening(f"{gateway.host}:{gateway.port}", "Arc gateway"))
        if seven:
            found += for_domain(domain_of(gateway), gateway.port)
    return _each_once(found)


def for_domain(domain: HostName, port: int = DEFAULT_PORT) -> list[Opening]:
    """Return the names of a cloud itself."""
    return [
        _opening(f"management.{domain}:{port}", "resource manager"),
        _opening(f"login.{domain}:{port}", "sign-in"),
        _opening(f"gbl.his.{domain}:{port}", "agent service"),
        _opening(f"*.his.{domain}:{port}", "agent service of the region"),
        _opening(f"packages.{domain}:{port}", "packages"),
        _opening(f"download.{domain}:{port}", "downloads"),
    ]


def for_features(catalogue: Catalogue, names: Iterable[str]) -> list[Opening]:
    """Return what features and scenarios need without a gateway; raises InputError (FEATURE_UNKNOWN)."""
    names = tuple(names)
    catalogue.check_names(names)
    return _each_once(Opening(pattern, name) for name, pattern in catalogue.patterns(names))


def domain_of(gateway: Target) -> HostName:
    """Return the cloud's domain; raises InputError (DOMAIN_UNKNOWN)."""
    _, infix, domain = str(gateway.host).partition(GATEWAY_INFIX)
    if not infix:
        raise InputError(
            "DOMAIN_UNKNOWN",
            f"{gateway.host} is not called PREFIX{GATEWAY_INFIX}DOMAIN, so the cloud's domain is not known.",
            remedy="Leave --names seven out, or give the gateway by its own name.",
        )
    return HostName(domain)


def by_port(openings: Iterable[Opening]) -> dict[int, list[Opening]]:
    """Return the openings by their port, in order of ports."""
    found: dict[int, list[Opening]] = {}
    for one in openings:
        found.setdefault(one.port, []).append(one)
    return dict(sorted(found.items()))


def widening_notes(openings: Iterable[Opening]) -> list[str]:
    """Return a note for each opening that must become wider."""
    return [
        f"{one.host} became {one.suffix_form}: this format has no star inside of a label."
        for one in openings
        if one.is_widened
    ]


def _opening(text: str, use: str) -> Opening:
    return Opening(parse_pattern(text), use)


def _each_once(openings: Iterable[Opening]) -> list[Opening]:
    unique: dict[tuple[object, int | None], Opening] = {}
    for one in openings:
        unique.setdefault((one.pattern.host, one.pattern.port), one)
    return list(unique.values())
