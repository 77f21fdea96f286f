"""Host names and targets: everything that two parsers could read differently is refused."""

# ruff: noqa: RUF001 - look-alike characters are what these tests are about
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.names import LONGEST_NAME, Target, parse_authority, parse_host, parse_host_name, parse_target

LABEL_63 = "a" * 63
NAME_253 = ".".join([LABEL_63, LABEL_63, LABEL_63, "b" * 61])

OTHER_SPELLINGS_OF_IPV4 = [
    "2130706433", "0x7f000001", "017700000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.0.0.0x1",
    "00127.0.0.1", "127.000.000.001", "127.0.0.01", "0", "0.0", "1", "0x", "0x0", "0X7F.1", "1.2.3.4.5", "1.2.3.256",
    "256.1.1.1", "999.999.999.999", "4294967296", "18446744073709551616", "1.2.3", "1.16777215", "127.0.0.1.", "127.1.",
    "0x7f000001.", "2130706433.", "example.0x10", "example.com.1", "a.08", "127.0.0.1..", "127..0.0.1", ".127.0.0.1",
]  # fmt: skip

MALFORMED_HOSTS = [
    *OTHER_SPELLINGS_OF_IPV4,
    "", ".", "..", "a..b", ".a", "a..", "a.b..", "-a.b", "a-.b", "a.-b", "a.b-", "*.example.com", "*", "exa*mple.com",
    "a b", "a\tb", "a\x00", "\x00", "a\x00.example.com", "a\rb", "a\nb", "a.example.com\n", "\x1b[2J", "a\x7f", "a%2eb",
    "%61.com", "a%0d%0aX:1", "a/b", "a\\b", "a?b", "a#b", "user@h", "user:pw@h", "a,b", "a;b", "a'b", 'a"b', "a<b>",
    "(a)", "{a}", "a|b", "a^b", "a`b", "a=b", "a+b", "a&b", "a!b", "a~b", "$a",
    "a" * 64, f"{'a' * 64}.example.com", f"{NAME_253}b", f"a.{NAME_253}", "a." * 127 + "ab",
    "[127.0.0.1]", "[example.com]", "[]", "[", "]", "[[::1]]", "[::1", "::1]", "[::1]]", "[::1%25lo]", "::1%lo",
    "fe80::1%eth0", "fe80::1%", "::1%25", ":", ":::", "::1::", "1:2:3:4:5:6:7:8:9", "::ffff:127.1", "::ffff:0177.0.0.1",
    "::12345", "::g", "::1/128", " ::1", "::1 ",
]  # fmt: skip

MALFORMED_AUTHORITIES = [
    *(host.encode("latin-1") + b":443" for host in MALFORMED_HOSTS),
    b"example.com", b"example.com:", b"example.com:0", b"example.com:00", b"example.com:0443", b"example.com:65536",
    b"example.com:65979", b"example.com:66000", b"example.com:99999", b"example.com:100000",
    b"example.com:4294967739", b"example.com:18446744073709552059", b"example.com:4_43", b"example.com:+443",
    b"example.com:-443", b"example.com: 443", b"example.com:443 ", b"example.com:443\n", b"example.com:443\x00",
    b"example.com:0x1bb", b"example.com:443.0", b"example.com:4e2", b"example.com:https", b"example.com:443:443",
    b"example.com:443/", b"example.com:443?", b"example.com:443#", b"http://example.com:443", b"//example.com:443",
    b"https://example.com", b"/", b"*", b"", b":443", b":", b"user:pw@example.com:443", b"user@example.com:443",
    "example.com:４４３".encode(), "example.com:٤٤٣".encode(), "ｅxample.com:443".encode(), "münchen.de:443".encode(),
    b"m\xfcnchen.de:443", b"\xff\xfe:443", b"::1:443", b"[::1]443", b"[::1]", b"[::1]:", b"[::1]:0", b"[::1]:65536",
    b"[::1%25lo]:443", b"[::1%lo]:443", b"[fe80::1%eth0]:443", b"[v1.x]:443", b"[::ffff:127.0.0.01]:443",
    b"a" * 65536 + b":443", b"a." * 500_000 + b":443", b"example.com:" + b"4" * 100_000,
]  # fmt: skip

GOOD_NAMES = {
    "example.com": "example.com",
    "EXAMPLE.Com": "example.com",
    "example.com.": "example.com",
    "localhost": "localhost",
    "3com.com": "3com.com",
    "1.example.com": "1.example.com",
    "10.0.0.1.nip.io": "10.0.0.1.nip.io",
    "123": None,
    "0xcafe.example": "0xcafe.example",
    "a.0xg": "a.0xg",
    "a.1b": "a.1b",
    "_dmarc.example.com": "_dmarc.example.com",
    "_": "_",
    "xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
    "XN--MNCHEN-3YA.DE": "xn--mnchen-3ya.de",
    "a--b.c": "a--b.c",
    LABEL_63: LABEL_63,
    NAME_253: NAME_253,
    f"{NAME_253}.": NAME_253,
}


@pytest.mark.parametrize("text", MALFORMED_HOSTS, ids=lambda text: ascii(text[:40]))
def test_a_host_that_could_be_read_two_ways_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_host(text)
    assert caught.value.code == "HOST_INVALID"
    assert caught.value.cause
    assert caught.value.remedy
    assert "\n" not in caught.value.one_line()


@pytest.mark.parametrize("authority", MALFORMED_AUTHORITIES, ids=lambda one: ascii(one[:40]))
def test_an_authority_that_is_not_exactly_host_and_port_is_refused(authority: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_authority(authority)
    assert caught.value.code == "TARGET_MALFORMED"
    assert len(caught.value.one_line()) < 1000
    assert caught.value.one_line().isprintable()


@pytest.mark.parametrize(("given_name", "expected"), [pair for pair in GOOD_NAMES.items() if pair[1]])
def test_an_ordinary_name_is_taken_in_lower_case_without_its_trailing_dot(given_name: str, expected: str) -> None:
    assert parse_host(given_name) == expected
    assert parse_host_name(given_name) == expected
    assert parse_authority(f"{given_name}:443".encode()) == Target(parse_host_name(expected), 443)


def test_the_longest_name_has_253_characters() -> None:
    assert len(NAME_253) == LONGEST_NAME == 253


@pytest.mark.parametrize("port", [1, 80, 443, 8443, 9999, 10_000, 65_535])
def test_a_port_from_1_to_65535_is_taken(port: int) -> None:
    assert parse_authority(f"example.com:{port}".encode()).port == port
    assert parse_authority(f"[::1]:{port}".encode()).port == port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", IPv4Address("127.0.0.1")),
        ("255.255.255.255", IPv4Address("255.255.255.255")),
        ("0.0.0.0", IPv4Address("0.0.0.0")),
        ("249.199.99.9", IPv4Address("249.199.99.9")),
        ("::1", IPv6Address("::1")),
        ("[::1]", IPv6Address("::1")),
        ("2001:DB8::1", IPv6Address("2001:db8::1")),
        ("0:0:0:0:0:0:0:1", IPv6Address("::1")),
        ("::ffff:127.0.0.1", IPv6Address("::ffff:127.0.0.1")),
    ],
)
def test_an_address_in_its_usual_form_is_an_address_and_no_name(text: str, expected: object) -> None:
    assert parse_host(text) == expected
    with pytest.raises(InputError):
        parse_host_name(text)
    bracketed = f"[{text.strip('[]')}]" if ":" in text else text
    target = parse_authority(f"{bracketed}:443".encode())
    assert target.host == expected
    assert target.is_literal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.de.", "xn--mnchen-3ya.de"),
        ("mu\u0308nchen.de", "xn--mnchen-3ya.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
    ],
)
def test_what_people_write_becomes_a_labels(text: str, expected: str) -> None:
    assert parse_host(text) == expected


@pytest.mark.parametrize(
    "text",
    ["ä" * 64 + ".de", "a\u2024b.de\u200b ", "\u202eab.de", "☃☃ .com", "ä..de", "\ud800.com", "＊.example.com", "ä/b",
     "a：443", "１２７。１", "０x7f.１", "٣.com.ä b", "ä_b c", "­"],
)  # fmt: skip
def test_an_international_text_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_host(text)


def test_a_target_of_a_person_may_leave_the_port_out_when_there_is_a_default() -> None:
    assert parse_target("example.com", 443) == parse_target("example.com:443")
    assert parse_target("[::1]", 443) == Target(IPv6Address("::1"), 443)
    assert parse_target("::1", 443) == Target(IPv6Address("::1"), 443)
    assert parse_target("münchen.de:8443").authority == "xn--mnchen-3ya.de:8443"
    assert parse_target("münchen.de", 80).authority == "xn--mnchen-3ya.de:80"


@pytest.mark.parametrize(
    "text",
    ["example.com:0", "example.com:65536", "example.com:", "münchen.de:0", "münchen.de:", "münchen.de:４４３",
     "example.com:４４３", "a:b:c", "", ":443", "münchen.de:99999"],
)  # fmt: skip
def test_a_bad_port_is_not_replaced_by_the_default(text: str) -> None:
    with pytest.raises(InputError):
        parse_target(text, 443)


def test_a_target_without_port_is_refused_when_there_is_no_default() -> None:
    with pytest.raises(InputError) as caught:
        parse_target("example.com")
    assert caught.value.code == "TARGET_MALFORMED"


labels = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?", fullmatch=True)
hosts = st.one_of(
    st.lists(labels, min_size=1, max_size=5).map(".".join),
    st.lists(labels, min_size=1, max_size=5).map(lambda parts: ".".join(parts) + "."),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded}]"),
)


@given(hosts, st.integers(1, 65535))
@example("[::ffff:1.2.3.4]", 443)
def test_parsing_the_printed_target_gives_the_target(host: str, port: int) -> None:
    try:
        target = parse_authority(f"{host}:{port}".encode())
    except InputError:
        assert host.rstrip(".")[-1].isalnum()  # a name that ends in a number
        return
    assert parse_authority(target.authority.encode()) == target
    assert parse_target(str(target)) == target


numbers = st.one_of(
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**33).map(hex),
    st.integers(0, 2**33).map(lambda number: f"0{number:o}"),
    st.integers(0, 300).map(lambda number: f"{number:03}"),
)


@given(st.lists(numbers, min_size=1, max_size=5).map(".".join), st.sampled_from(["", "."]))
def test_nothing_that_the_c_library_reads_as_ipv4_passes_as_a_name(text: str, dot: str) -> None:
    try:
        host = parse_host(text + dot)
    except InputError:
        return
    # What is left is the dotted quad, and both read the same address.
    assert isinstance(host, IPv4Address)
    assert socket.inet_aton(text) == host.packed


@given(st.binary(max_size=40))
def test_bytes_that_are_taken_hold_nothing_but_harmless_ascii(raw: bytes) -> None:
    try:
        target = parse_authority(raw)
    except InputError:
        return
    assert target.authority.isascii()
    assert target.authority.isprintable()


@given(st.text(max_size=30))
def test_any_text_is_a_normalised_host_or_an_input_error(text: str) -> None:
    try:
        host = parse_host(text)
    except InputError:
        return
    assert parse_host(str(host)) == host
    if isinstance(host, str):
        assert host == host.lower()
        assert host.isascii()
        assert not host.endswith(".")
        with pytest.raises(OSError, match=r"illegal"):
            socket.inet_aton(host)
