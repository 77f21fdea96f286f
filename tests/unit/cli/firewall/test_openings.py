"""What must be open, and how its stars are said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.cli.firewall.openings import Opening, domain_of, for_domain, for_features, for_gateways
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.errors import InputError
from arcgate.core.names import HostName, Target, parse_target
from arcgate.core.patterns import parse_pattern

GATEWAY = parse_target("abc.gw.arcgate.example", 443)


def _texts(openings: list[Opening]) -> list[str]:
    return [f"{one.host}:{one.port}" for one in openings]


def test_one_name_is_the_gateways() -> None:
    assert _texts(for_gateways([GATEWAY, GATEWAY], seven=False)) == ["abc.gw.arcgate.example:443"]


def test_the_seven_names_are_the_gateways_and_the_clouds_own() -> None:
    openings = for_gateways([GATEWAY], seven=True)
    assert len(openings) == 7
    assert "management.arcgate.example:443" in _texts(openings)
    assert "*.his.arcgate.example:443" in _texts(openings)


def test_another_port_is_that_of_all_names() -> None:
    openings = for_gateways([parse_target("abc.gw.arcgate.example:8443")], seven=True)
    assert {one.port for one in openings} == {8443}


def test_a_gateway_of_another_name_does_not_tell_the_domain() -> None:
    with pytest.raises(InputError, match="domain is not known"):
        domain_of(parse_target("gateway.example.com", 443))


def test_features_and_scenarios_open_what_they_need() -> None:
    texts = _texts(for_features(shipped_catalogue(), ["ArcData", "KeyVault", "SqlServer"]))
    assert "*.arcdataservices.com:443" in texts
    assert len(texts) == len(set(texts))
    with pytest.raises(InputError):
        for_features(shipped_catalogue(), ["Nothing"])


def test_the_clouds_names_stand_without_a_gateway_too() -> None:
    assert len(for_domain(HostName("arcgate.example"))) == 6


@pytest.mark.parametrize(
    ("pattern", "suffix"),
    [
        ("a.example.com", "a.example.com"),
        ("*.example.com", "*.example.com"),
        ("azgn*.servicebus.windows.net", "*.servicebus.windows.net"),
        ("a.b*c.example.com", "*.example.com"),
    ],
)
def test_stars_inside_of_labels_become_stars_in_front(pattern: str, suffix: str) -> None:
    assert Opening(parse_pattern(pattern), "").suffix_form == suffix


PATTERNS = [parse_pattern(one) for one in ("*.his.example.com", "azgn*.bus.example.net", "a-*-b.example.org")]
LABELS = st.sampled_from(["azgn", "azgn1", "a-x-b", "a--b", "his", "bus", "b", "x"])
SUFFIXES = st.sampled_from(["his.example.com", "bus.example.net", "example.org", "hisXexample.com"])


@given(st.lists(LABELS, max_size=2), SUFFIXES)
def test_expressions_hold_exactly_the_names_of_their_patterns(labels: list[str], suffix: str) -> None:
    host = ".".join([*labels, suffix]).lower()
    for pattern in PATTERNS:
        expression = Opening(pattern, "").expression
        assert (re.search(expression, host) is not None) == pattern.matches(Target(HostName(host), 443))
