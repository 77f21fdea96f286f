"""The header that says whose connection is passed on: read from any pieces, and nothing but what we send."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.names import Address
from arcgate.wire.proxy_header import ProxyHeaderError, ProxyHeaderReader, format_proxy_header

V4, V6 = format_proxy_header("192.0.2.7"), format_proxy_header("2001:db8::7")


def read(*pieces: bytes) -> Address | None:
    """Feed pieces, each as far as the reader wants it, as from a socket; return the address."""
    reader, found = ProxyHeaderReader(), None
    for piece in pieces:
        left = piece
        while left and reader.missing:
            wanted, left = left[: reader.missing], left[reader.missing :]
            found = reader.feed(wanted)
        assert not left
    return found


def test_it_is_version_2_of_the_proxy_protocol() -> None:
    # Section 2.2 of its specification, by hand: signature, version and command, family, length, addresses, ports.
    assert bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c c0000207 00000000 0000 0000") == V4
    assert V6[12:16] == bytes.fromhex("21 21 0024")
    assert len(V6) == 16 + 36


@pytest.mark.parametrize(("header", "source"), [(V4, "192.0.2.7"), (V6, "2001:db8::7")])
def test_every_split_gives_the_same_address(header: bytes, source: str) -> None:
    for first in range(len(header) + 1):
        for second in range(first, len(header) + 1):
            pieces = (header[:first], header[first:second], header[second:])
            assert read(*pieces) == ip_address(source)
    assert read(*(bytes([one]) for one in header)) == ip_address(source)


@pytest.mark.parametrize("header", [V4, V6])
def test_less_than_all_of_it_gives_nothing(header: bytes) -> None:
    assert [read(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("header", [V4, V6])
def test_a_byte_too_many_is_refused_so_that_none_of_the_connections_own_is_lost(header: bytes) -> None:
    reader = ProxyHeaderReader()
    with pytest.raises(ProxyHeaderError):
        reader.feed(header[:16] + b"x")
    assert reader.feed(header[:16]) is None
    with pytest.raises(ProxyHeaderError):
        reader.feed(header[16:] + b"x")
    assert reader.feed(header[16:]) is not None


@given(st.integers(0, 15), st.integers(1, 255))
def test_whatever_differs_in_its_first_part_is_refused(place: int, change: int) -> None:
    for header in (V4, V6):
        changed = bytearray(header)
        changed[place] ^= change
        with pytest.raises(ProxyHeaderError):
            ProxyHeaderReader().feed(bytes(changed[:16]))


@pytest.mark.parametrize("family", [0x00, 0x12, 0x22, 0x31, 0x32])
def test_other_families_are_refused(family: int) -> None:
    with pytest.raises(ProxyHeaderError):
        ProxyHeaderReader().feed(V4[:13] + bytes([family]) + V4[14:16])


@given(st.ip_addresses())
def test_what_is_sent_is_what_is_read(address: Address) -> None:
    assert read(format_proxy_header(str(address))) == address


def test_a_zone_is_left_out_and_what_is_no_address_is_refused() -> None:
    assert read(format_proxy_header("fe80::1%eth0")) == ip_address("fe80::1")
    for text in ("", "memory", "192.0.2.7:1"):
        with pytest.raises(ValueError, match="address"):
            format_proxy_header(text)
