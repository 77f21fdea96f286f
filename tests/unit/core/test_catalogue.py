"""The shipped catalogue: exactly the published endpoints, and names that expand as operators expect."""

import json
from pathlib import Path

import pytest

from arcgate.core.catalogue import Catalogue, parse_catalogue, shipped_catalogue
from arcgate.core.errors import InputError
from arcgate.core.names import parse_authority
from arcgate.core.patterns import PatternTrie

PUBLISHED: dict[str, list[str]] = json.loads((Path(__file__).parent / "data" / "published_endpoints.json").read_text())
"""Taken from the published page by hand, apart from the catalogue: feature and patterns."""


@pytest.fixture
def catalogue() -> Catalogue:
    return shipped_catalogue()


def test_the_catalogue_holds_exactly_the_180_published_patterns(catalogue: Catalogue) -> None:
    shipped = [pattern.text for feature in catalogue.features.values() for pattern in feature.endpoints]
    assert len(shipped) == len(set(shipped)) == 180
    assert set(shipped) == {text for group in PUBLISHED.values() for text in group}


def test_each_pattern_is_of_its_published_group(catalogue: Catalogue) -> None:
    assert {name: sorted(pattern.text for pattern in one.endpoints) for name, one in catalogue.features.items()} == {
        name: sorted(texts) for name, texts in PUBLISHED.items()
    }


def test_every_feature_says_what_it_is_for(catalogue: Catalogue) -> None:
    for name, feature in catalogue.features.items():
        assert feature.name == name
        assert feature.title
        assert feature.purpose.endswith(".")
    assert "2026-02-17" in catalogue.source


def test_every_shipped_pattern_finds_a_target_of_its_own(catalogue: Catalogue) -> None:
    patterns = [pattern for feature in catalogue.features.values() for pattern in feature.endpoints]
    trie = PatternTrie((pattern, pattern) for pattern in patterns)
    for pattern in patterns:
        assert isinstance(pattern.host, str)
        target = parse_authority(f"{pattern.host.replace('*', 'x1')}:{pattern.port}".encode())
        assert pattern.matches(target)
        assert trie.find(target) is not None


def test_a_star_stands_for_all_features(catalogue: Catalogue) -> None:
    assert catalogue.expand(["*"]) == list(catalogue.features.values())
    assert catalogue.expand(["Monitor", "*"]) == list(catalogue.features.values())


def test_names_expand_without_regard_to_case_once_each_in_the_catalogues_order(catalogue: Catalogue) -> None:
    assert [one.name for one in catalogue.expand(["MONITOR", "arccore", "Monitor"])] == ["ArcCore", "Monitor"]


@pytest.mark.parametrize("names", [[], ["Nonsense"], ["monitor "], [" *"], [""], ["**"], ["Mon*"]])
def test_a_name_that_is_not_known_expands_to_nothing(catalogue: Catalogue, names: list[str]) -> None:
    assert catalogue.expand(names) == []


def test_names_of_features_stars_and_endpoint_sets_pass_the_check(catalogue: Catalogue) -> None:
    catalogue.check_names([])
    catalogue.check_names(["*"])
    catalogue.check_names(["Monitor", "arcCORE", "Databases"], endpoint_sets=["databases"])


@pytest.mark.parametrize(
    "names", [["Documents", "notes.txt"], ["*.azure.com"], ["monitor "], [""], ["Monitor", "Moniter"]]
)
def test_file_names_from_an_unquoted_star_are_refused_with_a_hint_at_quoting(
    catalogue: Catalogue, names: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        catalogue.check_names(names)
    assert caught.value.code == "FEATURE_UNKNOWN"
    assert repr(next(name for name in names if name != "Monitor")) in caught.value.sentence
    assert "quoted" in caught.value.remedy
    assert "Monitor" in caught.value.remedy


def test_a_catalogue_with_a_broken_pattern_is_refused() -> None:
    with pytest.raises(InputError):
        parse_catalogue(
            '[source]\ntitle="t"\ndate=2026-01-01\n[features.A]\ntitle="t"\npurpose="p"\nendpoints=["*.com"]\n'
        )
