"""Placeholders: filled in, opened where the vendor owns the place, closed where anybody could."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.catalogue.placeholders import Placeholder, check_parameters, filled, placeholders_in
from arcgate.core.errors import InputError
from arcgate.core.patterns import parse_pattern

KNOWN = {
    "region": Placeholder("region", "", is_open=True),
    "vault": Placeholder("vault", "", is_open=False),
}


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("plain.example.com", {}, ["plain.example.com"]),
        ("<vault>.vault.example.com", {}, []),
        ("<vault>.vault.example.com", {"vault": ["a", "b"]}, ["a.vault.example.com", "b.vault.example.com"]),
        ("<vault>.vault.example.com", {"vault": ["*"]}, ["*.vault.example.com"]),
        ("<region>.svc.example.com:8084", {}, ["*.svc.example.com:8084"]),
        ("*.<region>.svc.example.com", {}, ["*.svc.example.com"]),
        ("*.<region>.svc.example.com", {"region": ["eastus"]}, ["*.eastus.svc.example.com"]),
        ("pre-<region>-post.example.com", {}, ["pre-*-post.example.com"]),
        ("<vault>.mid.<region>.example.com", {"vault": ["v"]}, ["v.mid.*.example.com"]),
        ("<vault>.mid.<region>.example.com", {"vault": ["*"]}, ["*.example.com"]),
        ("<vault>.<region>.example.com", {"vault": ["v"], "region": ["r"]}, ["v.r.example.com"]),
        ("<unknown>.example.com", {}, []),
    ],
)
def test_an_endpoint_becomes_patterns(text: str, parameters: Mapping[str, Sequence[str]], expected: list[str]) -> None:
    assert filled(text, parameters, KNOWN) == expected


@pytest.mark.parametrize("parameters", [{"nope": ["a"]}, {"vault": ["a.b"]}, {"vault": [""]}, {"vault": ["A"]}])
def test_parameters_that_are_no_parts_of_labels_are_refused(parameters: Mapping[str, Sequence[str]]) -> None:
    with pytest.raises(InputError) as caught:
        check_parameters(parameters, KNOWN)
    assert caught.value.code == "PARAMETER_INVALID"


@given(
    st.dictionaries(st.sampled_from(sorted(shipped_catalogue().placeholders)), st.sampled_from([["*"], ["a-1"], []]))
)
def test_whatever_is_filled_in_every_shipped_scenario_makes_patterns(parameters: dict[str, list[str]]) -> None:
    catalogue = shipped_catalogue()
    for scenario in catalogue.scenarios.values():
        for endpoint in scenario.endpoints:
            assert set(placeholders_in(endpoint.text)) <= set(catalogue.placeholders)
            for text in filled(endpoint.text, parameters, catalogue.placeholders):
                parse_pattern(text)
