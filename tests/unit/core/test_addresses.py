"""Classes of addresses: each range with its neighbours, and IPv4 inside IPv6."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arcgate.core.addresses import NEVER_A_TARGET, OPEN_BY_ALLOW_PRIVATE, AddressClass, classify

PUBLIC, PRIVATE, LOOPBACK = AddressClass.PUBLIC, AddressClass.PRIVATE, AddressClass.LOOPBACK
SHARED, LINK_LOCAL, METADATA = AddressClass.SHARED, AddressClass.LINK_LOCAL, AddressClass.METADATA
MULTICAST, UNSPECIFIED, RESERVED = AddressClass.MULTICAST, AddressClass.UNSPECIFIED, AddressClass.RESERVED

# first address, last address, class inside, class before, class behind (None: there is nothing)
RANGES = [
    ("0.0.0.0", "0.255.255.255", UNSPECIFIED, None, PUBLIC),
    ("10.0.0.0", "10.255.255.255", PRIVATE, PUBLIC, PUBLIC),
    ("100.64.0.0", "100.100.100.199", SHARED, PUBLIC, METADATA),
    ("100.100.100.200", "100.100.100.200", METADATA, SHARED, SHARED),
    ("100.100.100.201", "100.127.255.255", SHARED, METADATA, PUBLIC),
    ("127.0.0.0", "127.255.255.255", LOOPBACK, PUBLIC, PUBLIC),
    ("168.63.129.16", "168.63.129.16", METADATA, PUBLIC, PUBLIC),
    ("169.254.0.0", "169.254.169.253", LINK_LOCAL, PUBLIC, METADATA),
    ("169.254.169.254", "169.254.169.254", METADATA, LINK_LOCAL, LINK_LOCAL),
    ("169.254.170.2", "169.254.170.2", METADATA, LINK_LOCAL, LINK_LOCAL),
    ("169.254.170.3", "169.254.255.255", LINK_LOCAL, METADATA, PUBLIC),
    ("172.16.0.0", "172.31.255.255", PRIVATE, PUBLIC, PUBLIC),
    ("192.0.0.0", "192.0.0.191", RESERVED, PUBLIC, METADATA),
    ("192.0.0.192", "192.0.0.192", METADATA, RESERVED, RESERVED),
    ("192.0.0.193", "192.0.0.255", RESERVED, METADATA, PUBLIC),
    ("192.0.2.0", "192.0.2.255", RESERVED, PUBLIC, PUBLIC),
    ("192.88.99.0", "192.88.99.255", RESERVED, PUBLIC, PUBLIC),
    ("192.168.0.0", "192.168.255.255", PRIVATE, PUBLIC, PUBLIC),
    ("198.18.0.0", "198.19.255.255", RESERVED, PUBLIC, PUBLIC),
    ("198.51.100.0", "198.51.100.255", RESERVED, PUBLIC, PUBLIC),
    ("203.0.113.0", "203.0.113.255", RESERVED, PUBLIC, PUBLIC),
    ("224.0.0.0", "239.255.255.255", MULTICAST, PUBLIC, RESERVED),
    ("240.0.0.0", "255.255.255.255", RESERVED, MULTICAST, None),
    ("::", "::", UNSPECIFIED, None, LOOPBACK),
    ("::1", "::1", LOOPBACK, UNSPECIFIED, UNSPECIFIED),
    ("100::", "100::ffff:ffff:ffff:ffff", RESERVED, RESERVED, RESERVED),
    ("2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC, RESERVED, RESERVED),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED, PUBLIC, PUBLIC),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED, PUBLIC, PUBLIC),
    ("3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC, RESERVED, RESERVED),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED, RESERVED, RESERVED),
    ("fc00::", "fd00:ec2::253", PRIVATE, RESERVED, METADATA),
    ("fd00:ec2::254", "fd00:ec2::254", METADATA, PRIVATE, PRIVATE),
    ("fd20:ce::254", "fd20:ce::254", METADATA, PRIVATE, PRIVATE),
    ("fd20:ce::255", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE, METADATA, RESERVED),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LINK_LOCAL, RESERVED, PRIVATE),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE, LINK_LOCAL, MULTICAST),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", MULTICAST, PRIVATE, None),
]


@pytest.mark.parametrize(("first", "last", "inside", "before", "behind"), RANGES)
def test_a_range_has_its_class_from_the_first_to_the_last_address_and_not_beyond(
    first: str, last: str, inside: AddressClass, before: AddressClass | None, behind: AddressClass | None
) -> None:
    start, stop = ip_address(first), ip_address(last)
    assert classify(start) is classify(stop) is inside
    middle = type(start)((int(start) + int(stop)) // 2)
    if inside in {PUBLIC, PRIVATE, LOOPBACK, MULTICAST}:
        assert classify(middle) is inside
    if before is not None:
        assert classify(start - 1) is before
    if behind is not None:
        assert classify(stop + 1) is behind


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "8.8.8.8", "9.255.255.255", "20.50.2.1", "100.63.255.255", "168.63.129.15", "172.15.255.255",
     "172.32.0.0", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2603:1020::1"],
)  # fmt: skip
def test_an_ordinary_address_of_the_internet_is_public(text: str) -> None:
    assert classify(ip_address(text)) is PUBLIC


@pytest.mark.parametrize("text", ["4000::1", "6000::", "1000::1", "::2:0:0:0:1", "200::", "400::1", "64:ff9b:2::1"])
def test_an_ipv6_address_outside_of_global_unicast_is_not_public(text: str) -> None:
    assert classify(ip_address(text)) is RESERVED


def carriers(inner: IPv4Address) -> list[IPv6Address]:
    """All IPv6 addresses that something on the path could turn into this IPv4 address."""
    four = int(inner)
    high, low = four >> 16, four & 0xFFFF
    one, three = four >> 24, four & 0xFFFFFF
    local_nat64 = int(IPv6Address("64:ff9b:1::"))
    return [
        IPv6Address(f"::ffff:{inner}"),
        IPv6Address(f"::ffff:0:{inner}"),
        IPv6Address(f"::{inner}"),
        IPv6Address(f"64:ff9b::{inner}"),
        IPv6Address(f"64:ff9b:1::{inner}"),
        IPv6Address(local_nat64 | high << 64 | low << 40),  # RFC 6052, prefix of 48 bits
        IPv6Address(local_nat64 | one << 64 | three << 32),  # 56 bits
        IPv6Address(local_nat64 | four << 24),  # 64 bits
        IPv6Address(f"2002:{high:x}:{low:x}::1"),
        IPv6Address(f"2001:0:{high:x}:{low:x}::"),
        IPv6Address(f"2001:0:808:808:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"),
    ]


NEVER_PUBLIC_FOUR = ["10.1.2.3", "127.0.0.1", "169.254.169.254", "168.63.129.16", "100.100.100.200", "100.64.0.1",
                     "169.254.1.1", "192.168.1.1", "172.16.9.9", "224.0.0.1", "255.255.255.255"]  # fmt: skip


@pytest.mark.parametrize("text", NEVER_PUBLIC_FOUR)
def test_ipv4_inside_ipv6_is_as_closed_as_the_ipv4_address_itself(text: str) -> None:
    inner = ip_address(text)
    assert isinstance(inner, IPv4Address)
    for carrier in carriers(inner):
        assert classify(carrier) is not PUBLIC, carrier
        if classify(inner) in NEVER_A_TARGET:
            assert classify(carrier) in NEVER_A_TARGET, carrier


@pytest.mark.parametrize("text", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.1.1"])
@pytest.mark.parametrize("form", ["::ffff:{}", "::ffff:0:{}", "::{}", "64:ff9b::{}"])
def test_a_mapped_address_has_the_class_of_what_it_carries(form: str, text: str) -> None:
    assert classify(ip_address(form.format(text))) is classify(ip_address(text))


@given(st.ip_addresses(v=4))
def test_a_carried_address_is_never_public_even_when_the_inner_one_is(inner: IPv4Address) -> None:
    for carrier in carriers(inner):
        assert classify(carrier) is not PUBLIC


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.ip_addresses(v=6, network="2000::/3")))
@example(IPv4Address("192.0.0.9"))
@example(IPv6Address("2001:2::"))
@example(IPv6Address("2002:7f00:1::"))
def test_what_the_standard_library_calls_special_is_never_public(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_loopback
        or address.is_private
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    if special:
        assert classify(address) is not PUBLIC


def test_no_class_is_both_openable_and_never_a_target() -> None:
    assert not OPEN_BY_ALLOW_PRIVATE & NEVER_A_TARGET
    assert PUBLIC not in OPEN_BY_ALLOW_PRIVATE | NEVER_A_TARGET
