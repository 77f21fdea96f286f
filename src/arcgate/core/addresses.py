"""Classes of IP addresses: which of them a tunnel may lead to.

We keep our own table. The standard library's `is_global` and `is_private` changed meaning between Python
releases (CVE-2024-4032) and know neither cloud metadata services nor IPv4 inside IPv6.
"""

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Network = IPv4Network | IPv6Network


class AddressClass(StrEnum):
    """What kind of place an address is; only PUBLIC is a target without further permission."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    SHARED = "carrier-grade NAT"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"


NEVER_A_TARGET = frozenset(
    {AddressClass.LINK_LOCAL, AddressClass.METADATA, AddressClass.MULTICAST, AddressClass.UNSPECIFIED}
)
"""Classes that no rule can open: no service of a customer lives there, and credentials do."""

OPEN_BY_ALLOW_PRIVATE = frozenset({AddressClass.PRIVATE, AddressClass.LOOPBACK, AddressClass.SHARED})
"""Classes that a rule with allowPrivate (without networks of its own) opens."""


def _table(*rows: tuple[str, AddressClass]) -> tuple[tuple[Network, AddressClass], ...]:
    return tuple((ip_network(text), kind) for text, kind in rows)


# First match wins: single addresses stand before the ranges around them.
_IPV4 = _table(
    ("169.254.169.254/32", AddressClass.METADATA),  # AWS, Azure, GCP, OCI, OpenStack
    ("169.254.170.2/32", AddressClass.METADATA),  # AWS ECS task credentials
    ("168.63.129.16/32", AddressClass.METADATA),  # Azure wire server; a public range, so no range list has it
    ("100.100.100.200/32", AddressClass.METADATA),  # Alibaba
    ("192.0.0.192/32", AddressClass.METADATA),  # Oracle classic
    ("0.0.0.0/8", AddressClass.UNSPECIFIED),  # RFC 791; Linux connects 0.0.0.0 to itself
    ("10.0.0.0/8", AddressClass.PRIVATE),  # RFC 1918
    ("100.64.0.0/10", AddressClass.SHARED),  # RFC 6598
    ("127.0.0.0/8", AddressClass.LOOPBACK),
    ("169.254.0.0/16", AddressClass.LINK_LOCAL),  # RFC 3927
    ("172.16.0.0/12", AddressClass.PRIVATE),
    ("192.0.0.0/24", AddressClass.RESERVED),  # RFC 6890
    ("192.0.2.0/24", AddressClass.RESERVED),  # RFC 5737, documentation
    ("192.88.99.0/24", AddressClass.RESERVED),  # RFC 7526, 6to4 relays
    ("192.168.0.0/16", AddressClass.PRIVATE),
    ("198.18.0.0/15", AddressClass.RESERVED),  # RFC 2544, benchmarks
    ("198.51.100.0/24", AddressClass.RESERVED),
    ("203.0.113.0/24", AddressClass.RESERVED),
    ("224.0.0.0/4", AddressClass.MULTICAST),
    ("240.0.0.0/4", AddressClass.RESERVED),  # includes broadcast
)

_IPV6 = _table(
    ("fd00:ec2::254/128", AddressClass.METADATA),  # AWS
    ("fd20:ce::254/128", AddressClass.METADATA),  # GCP
    ("::/128", AddressClass.UNSPECIFIED),
    ("::1/128", AddressClass.LOOPBACK),
    ("100::/64", AddressClass.RESERVED),  # RFC 6666, discard
    ("2001::/23", AddressClass.RESERVED),  # RFC 2928; Teredo, ORCHID and other protocols' own
    ("2001:db8::/32", AddressClass.RESERVED),
    ("3fff::/20", AddressClass.RESERVED),  # RFC 9637, documentation
    ("5f00::/16", AddressClass.RESERVED),  # RFC 9602, SRv6
    ("fc00::/7", AddressClass.PRIVATE),  # RFC 4193
    ("fe80::/10", AddressClass.LINK_LOCAL),
    ("fec0::/10", AddressClass.PRIVATE),  # RFC 3879, site-local
    ("ff00::/8", AddressClass.MULTICAST),
)

_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_SIX_TO_FOUR = ip_network("2002::/16")  # RFC 3056
_TEREDO = ip_network("2001::/32")  # RFC 4380
_IPV4_MAPPED = (ip_network("::ffff:0:0/96"), ip_network("::ffff:0:0:0/96"), ip_network("::/96"))


@lru_cache(maxsize=4096)  # pure, and asked several times for each tunnel
def classify(address: IPv4Address | IPv6Address) -> AddressClass:
    """Return the class of an address; an IPv6 address that carries an IPv4 address has that one's class."""
    if isinstance(address, IPv4Address):
        return _look_up(address, _IPV4) or AddressClass.PUBLIC
    kind = _look_up(address, _IPV6)
    if kind in {AddressClass.UNSPECIFIED, AddressClass.LOOPBACK, AddressClass.METADATA}:
        return kind
    carried = [classify(inner) for inner in _embedded_ipv4(address)]
    if closed := [one for one in carried if one is not AddressClass.PUBLIC]:
        return next((one for one in closed if one in NEVER_A_TARGET), closed[0])
    if kind is not None:
        return kind
    # Translated and mapped forms of public addresses are refused too: no resolver of ours asks for them,
    # and what a router makes of them is not ours to know.
    return AddressClass.PUBLIC if address in _GLOBAL_UNICAST and not _is_transition(address) else AddressClass.RESERVED


def _look_up(
    address: IPv4Address | IPv6Address, table: tuple[tuple[Network, AddressClass], ...]
) -> AddressClass | None:
    return next((kind for network, kind in table if address in network), None)


def _is_transition(address: IPv6Address) -> bool:
    return address in _SIX_TO_FOUR or address in _TEREDO


def _embedded_ipv4(address: IPv6Address) -> list[IPv4Address]:
    packed = address.packed
    if any(address in network for network in (*_IPV4_MAPPED, _NAT64[0])):
        return [IPv4Address(packed[12:])]
    if address in _NAT64[1]:
        # The prefix length is the operator's choice (RFC 8215): look at each place that RFC 6052 allows.
        return [
            IPv4Address(packed[12:]),
            IPv4Address(packed[6:8] + packed[9:11]),
            IPv4Address(packed[7:8] + packed[9:12]),
            IPv4Address(packed[9:13]),
        ]
    if address in _SIX_TO_FOUR:
        return [IPv4Address(packed[2:6])]
    if address in _TEREDO:
        return [IPv4Address(packed[4:8]), IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:]))]
    return []
