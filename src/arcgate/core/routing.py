"""Arc Proxy's verdicts: through the gateway, by the enterprise proxy or directly, or not at all.

A pure function of the target, the goal that the control plane set for the machine, and the machine's own
settings; `azcmagent route` prints the explanation of the same function.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from arcgate.core.addresses import AddressClass, classify
from arcgate.core.extension_goals import ExtensionGoal
from arcgate.core.names import HostName, Target
from arcgate.core.patterns import EndpointPattern, PatternTrie, parse_pattern
from arcgate.core.proxy_exemptions import is_exempt

_AUTHORITIES = re.compile(
    r"(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,16384}-----END CERTIFICATE-----\s*){0,16}\Z"
)


class ConnectionType(StrEnum):
    """The property connection.type; `default` follows the association."""

    DEFAULT = "default"
    DIRECT = "direct"
    GATEWAY = "gateway"


class Way(StrEnum):
    """How a request leaves the machine."""

    GATEWAY = "gateway"
    ENTERPRISE = "enterprise proxy"
    DIRECT = "direct"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Route:
    """A way with the reason for it, in words for the log, and the pattern that decided, if one did."""

    way: Way
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the control plane wants of a machine; the last good one is kept on disk.

    `gateway_host` is empty while no gateway is associated. `allowed` are the patterns that the gateway lets
    through, `control` those of the control plane, `bypass` names that skip the gateway (gatewayBypass). `extensions`
    are all that the machine shall have. `authorities` are certificates (PEM) of roots that servers of the cloud may
    have beside those that the machine knows, so that a new root can come before the old one goes.
    """

    revision: int = 0
    gateway_id: str = ""
    gateway_host: str = ""
    gateway_port: int = 443
    allowed: tuple[EndpointPattern, ...] = ()
    control: tuple[EndpointPattern, ...] = ()
    bypass: tuple[HostName, ...] = ()
    extensions: tuple[ExtensionGoal, ...] = ()
    authorities: str = ""
    takes_all: bool = False
    """Whether the gateway is in audit mode: it takes what no rule allows too, so that it is seen."""

    @property
    def has_gateway(self) -> bool:
        """Whether a gateway is associated."""
        return bool(self.gateway_host)

    @property
    def gateway_url(self) -> str:
        """The gateway's URL, empty when none is associated."""
        if not self.gateway_host:
            return ""
        port = "" if self.gateway_port == 443 else f":{self.gateway_port}"
        return f"https://{self.gateway_host}{port}"

    def to_json(self) -> dict[str, Any]:
        """Return the goal as the HIS API sends it and the agent stores it."""
        return {
            "revision": self.revision,
            "gateway": {"id": self.gateway_id, "host": self.gateway_host, "port": self.gateway_port}
            if self.has_gateway
            else None,
            "allowed": [pattern.text for pattern in self.allowed],
            "control": [pattern.text for pattern in self.control],
            "bypass": list(self.bypass),
            "extensions": [extension.to_json() for extension in self.extensions],
            "authorities": self.authorities,
            **({"takesAll": True} if self.takes_all else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Goal":
        """Return the goal of a document; raises KeyError, TypeError, ValueError or InputError on a bad one."""
        gateway = document["gateway"] or {"id": "", "host": "", "port": 443}
        return cls(
            revision=int(document["revision"]),
            gateway_id=gateway["id"],
            gateway_host=gateway["host"],
            gateway_port=int(gateway["port"]),
            allowed=tuple(parse_pattern(text) for text in document["allowed"]),
            control=tuple(parse_pattern(text) for text in document["control"]),
            bypass=tuple(HostName(name) for name in document["bypass"]),
            # Control planes of before, and goals that they gave, have neither.
            extensions=tuple(ExtensionGoal.from_json(one) for one in document.get("extensions", ())),
            authorities=_authorities(document.get("authorities", "")),
            takes_all=document.get("takesAll") is True,
        )


def _authorities(value: Any) -> str:
    if not isinstance(value, str) or not _AUTHORITIES.match(value):
        raise ValueError("authorities are no certificates in PEM")
    return value


PROXY_BYPASS_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AAD": ("login.windows.net", "login.microsoftonline.com", "pas.windows.net"),
        "ARM": ("management.azure.com",),
        "AMA": (
            "global.handler.control.monitor.azure.com",
            "*.handler.control.monitor.azure.com",
            "*.ods.opinsights.azure.com",
            "management.azure.com",
            "*.monitoring.azure.com",
            "*.ingest.monitor.azure.com",
        ),
        "Arc": ("*.his.arc.azure.com", "*.guestconfiguration.azure.com"),
        "ArcData": ("*.arcdataservices.com",),
    }
)
"""Hosts behind the values of proxy.bypass (source: Microsoft's page on agent proxy settings)."""
OWN_BYPASS_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"aad": ("login.",), "arm": ("management.",), "arc": ("*.his.",)}
)
"""Beginnings of the names by which a cloud of ours serves the same."""


@dataclass(frozen=True)
class Routing:
    """Routes of one goal and one set of local settings. Immutable; replaced when either changes."""

    goal: Goal
    connection_type: ConnectionType = ConnectionType.DEFAULT
    has_enterprise_proxy: bool = False
    proxy_exemptions: str = ""
    """NO_PROXY: what takes no enterprise proxy, though it may take the gateway."""
    proxy_bypass: tuple[EndpointPattern, ...] = ()
    own_ports: frozenset[int] = frozenset()
    _tries: dict[str, PatternTrie[str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def uses_gateway(self) -> bool:
        """Whether the gateway is in use: associated, and connection.type doesn't say direct."""
        return self.goal.has_gateway and self.connection_type is not ConnectionType.DIRECT

    def route(self, target: Target) -> Route:
        """Return the way of a request to the target, with its reason."""
        if refusal := self._refusal(target):
            return Route(Way.REFUSE, refusal)
        if rule := self._rule("bypass", self.proxy_bypass, target):
            return Route(Way.DIRECT, "proxy.bypass names this host", rule)
        if not self.uses_gateway:
            why = "connection.type is direct" if self.goal.has_gateway else "no gateway is associated"
            return self._without_gateway(target, why)
        if target.host in self.goal.bypass:
            return self._without_gateway(target, "the gateway's bypass list names this host")
        if rule := self._rule("control", self.goal.control, target):
            return Route(Way.GATEWAY, "it belongs to the control plane", rule)
        if rule := self._rule("allowed", self.goal.allowed, target):
            return Route(Way.GATEWAY, "the gateway allows it", rule)
        if self.goal.takes_all and _may_be_public(target):
            return Route(Way.GATEWAY, "the gateway is in audit mode")
        return self._without_gateway(target, "the gateway does not carry it")

    def _refusal(self, target: Target) -> str:
        if target.port in self.own_ports and _is_own_machine(target):
            return "it is Arc Proxy itself"
        if target.host == "localhost" and target.port in self.own_ports:
            return "it is Arc Proxy itself"
        if isinstance(target.host, str):
            return ""
        kind = classify(target.host)
        if kind in {
            AddressClass.METADATA,
            AddressClass.UNSPECIFIED,
            AddressClass.MULTICAST,
            AddressClass.LINK_LOCAL,
        }:
            return f"{target.host} is a {kind} address"
        return ""

    def takes_proxy(self, target: Target) -> bool:
        """Whether a connection to the target, which takes no gateway, takes the enterprise proxy."""
        is_bypassed = bool(self._rule("bypass", self.proxy_bypass, target))
        return self.has_enterprise_proxy and not is_bypassed and not is_exempt(target, self.proxy_exemptions)

    def _without_gateway(self, target: Target, why: str) -> Route:
        if self.has_enterprise_proxy and not self.takes_proxy(target):
            return Route(Way.DIRECT, f"{why}, and NO_PROXY names this host")
        return Route(Way.ENTERPRISE if self.has_enterprise_proxy else Way.DIRECT, why)

    def _rule(self, name: str, patterns: tuple[EndpointPattern, ...], target: Target) -> str:
        """Return the pattern that holds the target, empty when none does."""
        if name not in self._tries:
            self._tries[name] = PatternTrie((pattern, pattern.text) for pattern in patterns)
        return self._tries[name].find(target) or ""


def _is_own_machine(target: Target) -> bool:
    return not isinstance(target.host, str) and classify(target.host) in {
        AddressClass.LOOPBACK,
        AddressClass.UNSPECIFIED,
    }


def _may_be_public(target: Target) -> bool:
    """Say whether a gateway in audit mode could reach the target: private addresses are never only observed."""
    return isinstance(target.host, str) or classify(target.host) is AddressClass.PUBLIC


def parse_proxy_bypass(values: tuple[str, ...] | list[str]) -> tuple[EndpointPattern, ...]:
    """Return the patterns behind the values of proxy.bypass: service groups, host patterns or networks.

    A host pattern without a port bypasses the proxy on every port. Raises InputError (PATTERN_INVALID).
    """
    groups = {name.lower(): hosts for name, hosts in PROXY_BYPASS_GROUPS.items()}
    patterns: list[EndpointPattern] = []
    for value in values:
        if (hosts := groups.get(value.strip().lower())) is not None:
            patterns += [parse_pattern(f"{host}:*") for host in hosts]
            continue
        parsed = parse_pattern(value)
        is_bare_ipv6 = value.count(":") > 1 and "[" not in value
        has_port = not is_bare_ipv6 and value.strip().rpartition(":")[2] in {str(parsed.port), "*"}
        patterns.append(parsed if has_port else EndpointPattern(parsed.text, parsed.host, None))
    return tuple(patterns)


def bypassed_control_hosts(values: tuple[str, ...], domain: str) -> tuple[EndpointPattern, ...]:
    """Return the hosts of a cloud of ours that the groups in proxy.bypass stand for, on every port."""
    wanted = [beginning for value in values for beginning in OWN_BYPASS_GROUPS.get(value.strip().lower(), ())]
    return tuple(parse_pattern(f"{beginning}{domain}:*") for beginning in wanted)
