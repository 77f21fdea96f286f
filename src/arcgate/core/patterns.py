"""Endpoint patterns, the grammar of the published endpoint lists, and a trie that matches thousands of them.

management.azure.com          this name, port 443
*.his.arc.azure.com           any name below the suffix, at any depth, but not the suffix itself
azgn*.servicebus.windows.net  a star inside a label stands for characters of that label
*.update.microsoft.com:80     another port than 443
10.20.0.0/16:1433             addresses, for endpoint sets of one's own
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Generic, TypeVar

from arcgate.core.addresses import Network
from arcgate.core.errors import InputError
from arcgate.core.names import Address, HostName, Target, parse_host

DEFAULT_PORT = 443

_PORT = re.compile(r"(?P<host>.+):(?P<port>[1-9][0-9]{0,4}|\*)\Z")
_LABELS = re.compile(r"[a-z0-9_*-]{1,63}(?:\.[a-z0-9_*-]{1,63})+\Z")


@dataclass(frozen=True, slots=True)
class EndpointPattern:
    """A set of targets: hosts by name or network, and one port (None: every port)."""

    text: str
    host: str | Network
    port: int | None

    def matches(self, target: Target) -> bool:
        """Say whether the target is in the set; the naive model that the trie must agree with."""
        if self.port is not None and self.port != target.port:
            return False
        if isinstance(self.host, str):
            return isinstance(target.host, str) and _name_expression(self.host).match(target.host) is not None
        return not isinstance(target.host, str) and target.host in self.host

    def __str__(self) -> str:
        return self.text


def parse_pattern(text: str) -> EndpointPattern:
    """Return the pattern that `text` spells; raises InputError with code PATTERN_INVALID."""
    given = text
    text = text.strip().lower()
    port: int | None = DEFAULT_PORT
    if (match := _PORT.match(text)) and not _is_bare_ipv6(text):
        text = match["host"]
        port = None if match["port"] == "*" else int(match["port"])
        if port is not None and port > 65535:
            raise _invalid(given, "a port is at most 65535")
    return EndpointPattern(given.strip(), _parse_pattern_host(text, given), port)


def _is_bare_ipv6(text: str) -> bool:
    return text.count(":") > 1 and "[" not in text


def _parse_pattern_host(text: str, given: str) -> str | Network:
    if "*" in text:
        labels = text.split(".")
        # Two labels must stay fixed: "*.com" or "*" would be no list at all.
        if not _LABELS.match(text) or "*" in "".join(labels[-2:]) or len(labels) < 3:
            raise _invalid(given, "a star stands before at least two fixed labels, as in *.example.com")
        if "*" in text.removeprefix("*.") and text.startswith("*."):
            raise _invalid(given, "either the first label is a star or one label has a star in it")
        return text
    try:
        if "/" in text and "%" not in text:  # a zone is only good on its own link
            return ip_network(text.replace("[", "").replace("]", ""))
        host = parse_host(text)
    except (ValueError, InputError) as error:
        raise _invalid(given, str(error)) from None
    return host if isinstance(host, str) else ip_network(host)


def _invalid(given: str, cause: str) -> InputError:
    return InputError(
        "PATTERN_INVALID",
        f"{given!r} is not an endpoint pattern.",
        cause=cause,
        remedy="Write NAME, *.SUFFIX, ADDRESS or NETWORK, with :PORT unless it is 443.",
    )


def _name_expression(pattern: str) -> re.Pattern[str]:
    if pattern.startswith("*."):
        return re.compile(r"(?:[^.]+\.)+" + re.escape(pattern[2:]) + r"\Z")
    return re.compile(re.escape(pattern).replace(r"\*", r"[^.]*") + r"\Z")


def covers(wide: EndpointPattern, narrow: EndpointPattern) -> bool:
    """Say whether every target of `narrow` is one of `wide`; False where two stars leave it open."""
    if wide.port is not None and wide.port != narrow.port:
        return False
    if not isinstance(wide.host, str) or not isinstance(narrow.host, str):
        return not isinstance(wide.host, str) and not isinstance(narrow.host, str) and _holds(wide.host, narrow.host)
    if wide.host == narrow.host:
        return True
    if wide.host.startswith("*."):
        return narrow.host.endswith(wide.host[1:])
    # A star of the narrow one stands for any characters, so it must meet a star of the wide one: "?" is no letter.
    return (
        not narrow.host.startswith("*.")
        and _name_expression(wide.host).match(narrow.host.replace("*", "?")) is not None
    )


def _holds(wide: Network, narrow: Network) -> bool:
    if isinstance(wide, IPv4Network) and isinstance(narrow, IPv4Network):
        return narrow.subnet_of(wide)
    return isinstance(wide, IPv6Network) and isinstance(narrow, IPv6Network) and narrow.subnet_of(wide)


Value = TypeVar("Value")


@dataclass(slots=True)
class _Node(Generic[Value]):
    children: dict[str, "_Node[Value]"] = field(default_factory=dict)
    starred: dict[str, list[tuple[re.Pattern[str], "_Node[Value]"]]] = field(default_factory=dict)
    """Labels with a star, by what stands before the star."""
    lengths: tuple[int, ...] = ()
    """Lengths of what stands before stars, longest first."""
    exact: dict[int | None, Value] = field(default_factory=dict)
    below: dict[int | None, Value] = field(default_factory=dict)


class _Networks(Generic[Value]):
    """Patterns of addresses by length of prefix, so that a look-up costs one step for each length."""

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, dict[int | None, Value]]] = {}

    def add(self, network: Network, port: int | None, value: Value) -> None:
        table = self._tables.setdefault((network.version, network.prefixlen), {})
        table.setdefault(int(network.network_address), {}).setdefault(port, value)
        # Longer prefixes are more specific and come first.
        self._tables = dict(sorted(self._tables.items(), key=lambda item: -item[0][1]))

    def find(self, address: Address, port: int) -> Value | None:
        number, bits = int(address), address.max_prefixlen
        for (version, length), table in self._tables.items():
            if version != address.version:
                continue
            ports = table.get(number >> (bits - length) << (bits - length))
            if ports is not None and (value := _at_port(ports, port)) is not None:
                return value
        return None


class PatternTrie(Generic[Value]):
    """Finds the most specific of many patterns in O(labels); on equal patterns the first one given wins."""

    def __init__(self, items: Iterable[tuple[EndpointPattern, Value]]) -> None:
        self._root: _Node[Value] = _Node()
        self._networks: _Networks[Value] = _Networks()
        for pattern, value in items:
            if isinstance(pattern.host, str):
                self._add(pattern.host, pattern.port, value)
            else:
                self._networks.add(pattern.host, pattern.port, value)

    def _add(self, host: str, port: int | None, value: Value) -> None:
        is_suffix = host.startswith("*.")
        node = self._root
        for label in reversed(host.removeprefix("*.").split(".")):
            node = self._starred_child(node, label) if "*" in label else node.children.setdefault(label, _Node())
        (node.below if is_suffix else node.exact).setdefault(port, value)

    @staticmethod
    def _starred_child(node: _Node[Value], label: str) -> _Node[Value]:
        expression, before = _name_expression(label), label.partition("*")[0]
        known = node.starred.setdefault(before, [])
        for other, child in known:
            if other.pattern == expression.pattern:
                return child
        fresh: _Node[Value] = _Node()
        known.append((expression, fresh))
        node.lengths = tuple(sorted({len(one) for one in node.starred}, reverse=True))
        return fresh

    def find(self, target: Target) -> Value | None:
        """Return the value of the most specific pattern that holds the target, or None."""
        if isinstance(target.host, str):
            return self._find_name(target.host, target.port)
        return self._networks.find(target.host, target.port)

    def _find_name(self, host: HostName, port: int) -> Value | None:
        found: Value | None = None
        nodes = [self._root]
        for label in reversed(host.split(".")):
            for node in nodes:
                value = _at_port(node.below, port)
                found = value if value is not None else found
            nodes = [child for node in nodes for child in self._step(node, label)]
            if not nodes:
                return found
        for node in nodes:
            value = _at_port(node.exact, port)
            if value is not None:
                return value
        return found

    @staticmethod
    def _step(node: _Node[Value], label: str) -> list[_Node[Value]]:
        exact = node.children.get(label)
        starred = [
            child
            for length in node.lengths
            for expression, child in node.starred.get(label[:length], ())
            if expression.match(label)
        ]
        return [exact, *starred] if exact is not None else starred


def _at_port(values: dict[int | None, Value], port: int) -> Value | None:
    found = values.get(port)
    return found if found is not None else values.get(None)
