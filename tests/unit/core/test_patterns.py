"""Endpoint patterns: their grammar, and a trie that agrees with matching one pattern after the other."""

import random
import sys
from collections.abc import Callable
from ipaddress import ip_address
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core import patterns as matcher
from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_authority, parse_host
from arcgate.core.patterns import EndpointPattern, PatternTrie, covers, parse_pattern


def target(text: str) -> Target:
    return parse_authority((text if ":" in text.rpartition("]")[2] else f"{text}:443").encode())


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "management.azure.com",
            ["management.azure.com", "MANAGEMENT.Azure.Com", "management.azure.com."],
            ["azure.com", "a.management.azure.com", "xmanagement.azure.com", "management.azure.com.evil.example",
             "management.azure.com:80", "management-azure.com", "managementxazure.com"],
        ),
        (
            "*.his.arc.azure.com",
            ["gbl.his.arc.azure.com", "a.b.c.his.arc.azure.com", "GBL.HIS.arc.azure.com."],
            ["his.arc.azure.com", "xhis.arc.azure.com", "gbl.his.arc.azure.com.x", "gbl.hisxarc.azure.com",
             "gbl.his.arc.azure.com:444"],
        ),
        (
            "azgn*.servicebus.windows.net",
            ["azgn1.servicebus.windows.net", "azgn.servicebus.windows.net", "azgn-x.servicebus.windows.net"],
            ["azg.servicebus.windows.net", "azgn1.x.servicebus.windows.net", "x.azgn1.servicebus.windows.net",
             "servicebus.windows.net"],
        ),
        (
            "san-af-*-prod.azurewebsites.net",
            ["san-af-eastus-prod.azurewebsites.net", "san-af--prod.azurewebsites.net"],
            ["san-af-prod.azurewebsites.net", "san-af-a.b-prod.azurewebsites.net", "san-af-x-prod.x.net"],
        ),
        ("*.update.microsoft.com:80", ["a.update.microsoft.com:80"], ["a.update.microsoft.com",
        "update.microsoft.com:80"]),
        ("db.corp.example:*", ["db.corp.example:1", "db.corp.example:65535"], ["x.db.corp.example:1"]),
        ("10.20.0.0/16:1433", ["10.20.0.0:1433", "10.20.255.255:1433"],
         ["10.20.0.1:443", "10.21.0.0:1433", "10.19.255.255:1433", "a.example.com:1433", "[::ffff:10.20.0.1]:1433"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.8", "192.0.2.7:80"]),
        ("[2001:db8::]/32:8443", ["[2001:db8:1::5]:8443"], ["[2001:db9::]:8443", "[2001:db8::1]:443"]),
        ("[2001:db8::1]:8443", ["[2001:db8::1]:8443"], ["[2001:db8::2]:8443"]),
        ("2001:db8::1", ["[2001:db8::1]:443"], ["[2001:db8::1]:80"]),
        ("fd00::/8", ["[fd12::1]:443"], ["[fe80::1]:443"]),
        ("0.0.0.0/0:*", ["1.2.3.4:5"], ["[::1]:5", "a.example:5"]),
        ("münchen.de", ["xn--mnchen-3ya.de"], ["munchen.de"]),
        ("xn--mnchen-3ya.de", ["xn--mnchen-3ya.de"], ["munchen.de"]),
        ("Host_1.Example.com.", ["host_1.example.com"], ["host-1.example.com"]),
        ("localhost:8080", ["localhost:8080"], ["localhost"]),
    ],
)  # fmt: skip
def test_a_pattern_holds_what_it_spells_and_nothing_else(pattern: str, inside: list[str], outside: list[str]) -> None:
    parsed = parse_pattern(pattern)
    trie = PatternTrie([(parsed, pattern)])
    for text in inside:
        assert parsed.matches(target(text)), text
        assert trie.find(target(text)) == pattern, text
    for text in outside:
        assert not parsed.matches(target(text)), text
        assert trie.find(target(text)) is None, text


@pytest.mark.parametrize(
    "text",
    ["", " ", "*", "*.", ".com", "*.com", "*.*.com", "*.*", "*.*.example.com", "*.a*.example.com", "a.*.com", "a.b.*",
     "a.*", "**", "*:443", "*.com:443", "example.*", "exam*ple.com", "*.example.com.", "*..example.com",
     "*.exa mple.com",
     "https://example.com", "http://*.example.com", "//example.com", "example.com/path", "*.example.com/x",
     "user@a.example",
     "example.com:0", "example.com:65536", "example.com:99999", "example.com:443:443", "example.com:", "example.com:x",
     "example.com:-1", "example.com:4 43", "a..b", "-a.example", "a b.example", "a.example\x00", "a,b.example", "a;b",
     "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/a", "010.0.0.1", "0x0a.0.0.1", "167772161",
     "10.0.0", "10.*", "10.0.0.*", "[10.0.0.1]", "[::1", "::1]", "[::1%lo]", "fe80::%1/64", "::/129", "[a.example]",
     "*.münchen.de", "*." + "a" * 64 + ".example.com", "a" * 64 + ".example.com", "*.a.example\n.x", "?.example.com"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_pattern(text)
    assert caught.value.code == "PATTERN_INVALID"
    assert caught.value.remedy


def test_a_pattern_prints_as_it_was_given() -> None:
    assert str(parse_pattern("  *.His.Arc.azure.com:443 ")) == "*.His.Arc.azure.com:443"


def test_a_pattern_without_a_port_means_443() -> None:
    assert parse_pattern("a.example").port == 443
    assert parse_pattern("a.example:*").port is None
    assert parse_pattern("2001:db8::1").port == 443


@pytest.mark.parametrize(
    ("patterns", "host", "winner"),
    [
        (["*.example.com", "*.b.example.com", "a.b.example.com"], "a.b.example.com", "a.b.example.com"),
        (["*.example.com", "*.b.example.com"], "a.b.example.com", "*.b.example.com"),
        (["*.example.com", "*.b.example.com"], "b.example.com", "*.example.com"),
        (["*.example.com", "a*.example.com"], "ab.example.com", "a*.example.com"),
        (["a*.example.com", "ab.example.com"], "ab.example.com", "ab.example.com"),
        (["*.example.com:*", "*.example.com"], "a.example.com", "*.example.com"),
        (["*.example.com", "a.example.com:80"], "a.example.com", "*.example.com"),
        (["*.example.com", "*.b.example.com:80"], "a.b.example.com", "*.example.com"),
        (["x*.b.example.com:80", "*.example.com"], "xa.b.example.com", "*.example.com"),
        (["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"], "10.1.2.3", "10.1.2.3"),
        (["10.0.0.0/8", "10.1.0.0/16:80", "10.1.0.0/24"], "10.1.2.3", "10.0.0.0/8"),
    ],
)
def test_the_most_specific_pattern_wins_whatever_the_order(patterns: list[str], host: str, winner: str) -> None:
    for order in (patterns, patterns[::-1]):
        trie = PatternTrie([(parse_pattern(text), text) for text in order])
        assert trie.find(target(host)) == winner


def test_of_equal_patterns_the_first_one_wins() -> None:
    trie = PatternTrie([(parse_pattern("a.example"), "first"), (parse_pattern("A.EXAMPLE:443"), "second")])
    assert trie.find(target("a.example")) == "first"


def test_an_empty_trie_finds_nothing() -> None:
    trie: PatternTrie[str] = PatternTrie([])
    assert trie.find(target("a.example")) is None
    assert trie.find(target("10.0.0.1")) is None


def naive(patterns: list[EndpointPattern], wanted: Target) -> bool:
    return any(pattern.matches(wanted) for pattern in patterns)


# A small alphabet makes collisions, and collisions are where a trie goes wrong.
label = st.text("ab", min_size=1, max_size=2)
star_label = st.builds(lambda left, right: f"{left}*{right}", st.text("ab", max_size=1), st.text("ab", max_size=1))
port = st.sampled_from(["", ":443", ":80", ":*"])
suffix = st.lists(label, min_size=2, max_size=4).map(".".join)
names = st.one_of(
    suffix,
    suffix.map(lambda text: f"*.{text}"),
    st.builds(lambda star, rest: f"{star}.{rest}", star_label.filter(lambda text: text != "*"), suffix),
    st.builds(lambda first, star, rest: f"{first}.{star}.{rest}", label, star_label, suffix),
)
networks = st.one_of(
    st.builds(lambda a, b: f"10.{a}.{b}.0/24", st.integers(0, 1), st.integers(0, 1)),
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "0.0.0.0/0", "[fd00::]/8", "[fd00::1]"]),
)
patterns = st.lists(
    st.builds(lambda host, tail: parse_pattern(host + tail), st.one_of(names, networks), port), max_size=12
)
hosts = st.one_of(
    st.lists(label, min_size=1, max_size=6).map(".".join),
    st.builds(lambda a, b, c: f"10.{a}.{b}.{c}", st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from(["fd00::1", "fd00::2", "fe80::1"]),
)
targets = st.builds(Target, hosts.map(parse_host), st.sampled_from([80, 443, 8080]))


@given(patterns, st.lists(targets, min_size=1, max_size=20))
def test_the_trie_finds_exactly_what_some_pattern_matches(
    given_patterns: list[EndpointPattern], wanted: list[Target]
) -> None:
    trie = PatternTrie((pattern, pattern) for pattern in given_patterns)
    for one in wanted:
        found = trie.find(one)
        assert (found is not None) == naive(given_patterns, one)
        assert found is None or found.matches(one)


@given(patterns.filter(bool), st.data())
def test_the_trie_agrees_about_the_neighbours_of_every_pattern(
    given_patterns: list[EndpointPattern], data: st.DataObject
) -> None:
    trie = PatternTrie((pattern, pattern) for pattern in given_patterns)
    for pattern in given_patterns:
        if not isinstance(pattern.host, str):
            continue
        fixed = pattern.host.removeprefix("*.").replace("*", data.draw(st.sampled_from(["", "a", "ba"])) or "a")
        for host in (fixed, f"a.{fixed}", f"b.a.{fixed}", f"x{fixed}", fixed.partition(".")[2], f"{fixed}.a"):
            wanted = Target(parse_host(host), pattern.port or 8080)
            assert (trie.find(wanted) is not None) == naive(given_patterns, wanted), host


@given(patterns, targets)
def test_the_order_of_patterns_does_not_change_whether_one_is_found(
    given_patterns: list[EndpointPattern], wanted: Target
) -> None:
    forward = PatternTrie((pattern, pattern) for pattern in given_patterns).find(wanted)
    backward = PatternTrie((pattern, pattern) for pattern in reversed(given_patterns)).find(wanted)
    assert (forward is None) == (backward is None)


def many_patterns(count: int) -> list[str]:
    chooser = random.Random(count)
    forms = ["host{0}.svc{1}.example.com", "*.svc{0}.example.org", "node{0}*.svc{1}.example.net",
    "h{0}.example.com:{2}",
             "10.{1}.{3}.0/24"]  # fmt: skip
    return [
        chooser.choice(forms).format(number, number % 97, 1 + number % 65535, number % 256) for number in range(count)
    ]


@pytest.mark.parametrize("count", [1, 100, 101, 5000])
def test_thousands_of_rules_match_as_few_do_in_every_casing_and_with_a_trailing_dot(count: int) -> None:
    texts = many_patterns(count)
    parsed = [parse_pattern(text) for text in texts]
    trie = PatternTrie(zip(parsed, texts, strict=True))
    sample = random.Random(7).sample(parsed, min(count, 40))
    for pattern in sample:
        if not isinstance(pattern.host, str):
            assert trie.find(Target(ip_address(pattern.host[3]), pattern.port or 443)) is not None
            continue
        host = pattern.host.replace("*", "Some")
        for spelling in (host, host.upper(), host.title(), f"{host}.", f"{host.upper()}."):
            wanted = parse_authority(f"{spelling}:{pattern.port}".encode())
            found = trie.find(wanted)
            assert found is not None, spelling
            assert parse_pattern(found).matches(wanted)
    for absent in ("example.com", "svc1.example.org", "x.example.net", "host1.svc1.example.org.evil.test"):
        assert (trie.find(target(absent)) is not None) == naive(parsed, target(absent))


def steps_of(work: Callable[[], object]) -> int:
    """Return how many lines of the matcher's code are run."""
    steps = 0

    def count(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != matcher.__file__:
            return None
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ("host{}.corp.example.com", "host7.corp.example.com:443"),
        ("*.site{}.example.com", "deep.below.site7.example.com:443"),
        ("pre{}-*.corp.example.com", "pre7-x.corp.example.com:443"),
        ("pre{}-*.corp.example.com", "nothing.like.it.example:443"),
        ("10.{}.0.0/24:443", "10.7.0.9:443"),
    ],
)
def test_thousands_of_rules_cost_no_more_steps_than_a_few(rule: str, asked: str) -> None:
    place = target(asked)
    few, many = (
        PatternTrie((parse_pattern(rule.format(number)), number) for number in range(count)) for count in (10, 250)
    )
    large = PatternTrie(
        (parse_pattern(f"{kind}{number}.example.org"), number)
        for number in range(5000)
        for kind in ("a", "*.b", "c*.d")
    )
    assert many.find(place) == few.find(place)
    assert steps_of(lambda: many.find(place)) <= steps_of(lambda: few.find(place)) + 20
    assert steps_of(lambda: large.find(target("x.b4999.example.org"))) < 100


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "*.a.example.com", True),
        ("*.example.com", "x*.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.example.com:80", False),
        ("*.example.com:*", "a.example.com:80", True),
        ("x*.example.com", "x-*.example.com", True),
        ("x*.example.com", "*.example.com", False),
        ("x-*.example.com", "x*.example.com", False),
        ("a.example.com", "x*.example.com", False),
        ("10.0.0.0/8", "10.1.0.0/16", True),
        ("10.1.0.0/16", "10.0.0.0/8", False),
        ("10.0.0.0/8", "a.example.com", False),
        ("fd00::/8", "10.0.0.0/8", False),
        ("fd00::/8", "fd01::/16", True),
    ],
)
def test_a_pattern_covers_another_when_it_holds_all_its_targets(wide: str, narrow: str, does: bool) -> None:
    assert covers(parse_pattern(wide), parse_pattern(narrow)) is does
