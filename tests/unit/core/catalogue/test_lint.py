"""The linter: each kind of fault once, and on the shipped list exactly the wildcards that anybody can own."""

from publicsuffixlist import PublicSuffixList

from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.catalogue.lint import Fault, lint_catalogue, lint_patterns
from arcgate.core.patterns import parse_pattern


def faults(*rules: str) -> list[tuple[str, str]]:
    found = lint_patterns("g", [parse_pattern(one) for one in rules], lambda name: name == "host.example")
    return [(str(one.fault), one.rule) for one in found]


def test_a_list_without_faults_has_no_findings() -> None:
    assert faults("a.example.com", "*.b.example.com", "b.example.com", "10.0.0.0/8:22", "*.c.example.com:80") == []


def test_a_rule_that_stands_twice_is_a_duplicate_whatever_its_spelling() -> None:
    assert faults("a.example.com", "A.example.com:443") == [("duplicate", "A.example.com:443")]


def test_a_rule_that_another_one_holds_is_shadowed() -> None:
    assert faults("*.example.com", "a.example.com", "*.a.example.com", "x*.example.com") == [
        ("shadowed", "a.example.com"),
        ("shadowed", "*.a.example.com"),
        ("shadowed", "x*.example.com"),
    ]
    assert faults("10.0.0.0/8:22", "10.1.0.0/16:22") == [("shadowed", "10.1.0.0/16:22")]
    assert faults("a.example.com:*", "a.example.com") == [("shadowed", "a.example.com")]


def test_another_port_or_an_overlap_shadows_nothing() -> None:
    assert faults("*.example.com:80", "a.example.com", "a*.x.example", "*b.x.example") == []


def test_a_wildcard_below_which_anybody_can_own_a_name_is_told() -> None:
    assert faults("*.host.example", "mine.host.example") == [
        ("public-suffix", "*.host.example"),
        ("shadowed", "mine.host.example"),
    ]


def test_on_the_originals_list_exactly_three_wildcards_are_open_to_everybody() -> None:
    suffixes = PublicSuffixList()
    catalogue = shipped_catalogue()
    found = lint_catalogue(catalogue, lambda name: suffixes.publicsuffix(name) == name)
    assert {one.rule for one in found if one.fault is Fault.PUBLIC_SUFFIX} == {
        *("*.blob.core.windows.net", "*.web.core.windows.net", "*.servicebus.windows.net")
    }
    assert [one for one in found if one.fault is Fault.DUPLICATE] == []
