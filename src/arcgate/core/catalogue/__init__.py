"""The catalogue: features and scenarios, each a named set of endpoints, read from data files beside this module."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from arcgate.core.catalogue.placeholders import Parameters, Placeholder, filled
from arcgate.core.errors import InputError
from arcgate.core.patterns import EndpointPattern, parse_pattern

ALL_FEATURES = "*"

_NO_PARAMETERS: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Feature:
    """A named set of endpoint patterns with its purpose."""

    name: str
    title: str
    purpose: str
    endpoints: tuple[EndpointPattern, ...]


@dataclass(frozen=True, slots=True)
class ScenarioEndpoint:
    """One endpoint of a scenario, which may have placeholders: what it is for, and when it is needed."""

    text: str
    purpose: str
    when: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that people do with connected machines, with all endpoints that it takes."""

    name: str
    title: str
    purpose: str
    source: str
    """Where the list was taken from, and when."""
    endpoints: tuple[ScenarioEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All features and scenarios by name, with the source that they were taken from."""

    features: Mapping[str, Feature]
    source: str
    edition: int = 0
    """A number that rises with each edition, YYYYMMDDNN."""
    scenarios: Mapping[str, Scenario] = field(default_factory=lambda: MappingProxyType({}))
    placeholders: Mapping[str, Placeholder] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all features and scenarios."""
        return (*self.features, *self.scenarios)

    def expand(self, names: Iterable[str]) -> list[Feature]:
        """Return the features that the names stand for, in the catalogue's order; `*` stands for all.

        Names compare without case. Names that the catalogue doesn't know are left out: a gateway refuses
        what it can't understand. `check_names` tells them apart beforehand.
        """
        wanted = {name.lower() for name in names}
        if ALL_FEATURES in wanted:
            return list(self.features.values())
        return [feature for feature in self.features.values() if feature.name.lower() in wanted]

    def patterns(
        self, names: Iterable[str], parameters: Parameters = _NO_PARAMETERS
    ) -> list[tuple[str, EndpointPattern]]:
        """Return the patterns behind names of features and scenarios, each with the name that it comes from.

        `*` stands for the features alone: what the original carries. Scenarios add to that only when named.
        """
        names = tuple(names)
        wanted = {name.lower() for name in names}
        known = [(feature.name, pattern) for feature in self.expand(names) for pattern in feature.endpoints]
        scenarios = [one for one in self.scenarios.values() if one.name.lower() in wanted]
        return known + [(one.name, pattern) for one in scenarios for pattern in self.patterns_of(one, parameters)]

    def patterns_of(self, scenario: Scenario, parameters: Parameters = _NO_PARAMETERS) -> list[EndpointPattern]:
        """Return the patterns of a scenario with its placeholders filled in."""
        texts = (text for one in scenario.endpoints for text in filled(one.text, parameters, self.placeholders))
        return [parse_pattern(text) for text in dict.fromkeys(texts)]

    def check_names(self, names: Iterable[str], endpoint_sets: Iterable[str] = ()) -> None:
        """Raise InputError (FEATURE_UNKNOWN) if a name is neither `*`, a feature, a scenario nor an endpoint set."""
        known = {
            ALL_FEATURES,
            *(name.lower() for name in self.names),
            *(name.lower() for name in endpoint_sets),
        }
        for name in names:
            if name.lower() not in known:
                raise InputError(
                    "FEATURE_UNKNOWN",
                    f"There is no feature, scenario or endpoint set named {name[:100]!r}.",
                    remedy="Use '*' (quoted, so that the shell leaves it alone), an endpoint set's name, or names of: "
                    f"{', '.join(self.names)}.",
                )


def parse_catalogue(*texts: str) -> Catalogue:
    """Return the catalogue that TOML texts hold together.

    Raises InputError (PATTERN_INVALID, CATALOGUE_INVALID).
    """
    try:
        document = _joined([tomllib.loads(text) for text in texts])
        features = {name: _feature(name, body) for name, body in document["features"].items()}
        scenarios = {name: _scenario(name, body) for name, body in document["scenarios"].items()}
        placeholders = {
            name: Placeholder(name, body["meaning"], bool(body["open"]))
            for name, body in document["placeholders"].items()
        }
        source = document["source"]
        catalogue = Catalogue(
            features, f"{source['title']} ({source['date']})", int(source.get("edition", 0)), scenarios, placeholders
        )
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _unreadable(repr(error)) from None
    for scenario in scenarios.values():
        for value in ("any", "*"):  # whatever is filled in must make patterns: nodes have no way to refuse it
            catalogue.patterns_of(scenario, dict.fromkeys(placeholders, (value,)))
    return catalogue


def _unreadable(cause: str) -> InputError:
    remedy = "Write it as arcgate/core/catalogue/azure.toml is, with 'title', 'date' and 'edition' in [source]."
    return InputError("CATALOGUE_INVALID", "The catalogue can't be read.", cause=cause, remedy=remedy)


def _joined(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the tables of several files as one document; the first file's source speaks for all."""
    joined: dict[str, Any] = {"features": {}, "scenarios": {}, "placeholders": {}}
    for document in documents:
        joined.setdefault("source", document.get("source"))
        for table in ("features", "scenarios", "placeholders"):
            joined[table] |= document.get(table, {})
    return joined


def _feature(name: str, body: Mapping[str, Any]) -> Feature:
    return Feature(name, body["title"], body["purpose"], tuple(parse_pattern(line) for line in body["endpoints"]))


def _scenario(name: str, body: Mapping[str, Any]) -> Scenario:
    endpoints = (ScenarioEndpoint(one["endpoint"], one["purpose"], one["when"]) for one in body["endpoints"])
    return Scenario(name, body["title"], body["purpose"], f"{body['source']} ({body['date']})", tuple(endpoints))


SHIPPED = ("azure.toml", "scenarios.toml")
"""Files that this version's catalogue consists of."""


def shipped_texts() -> tuple[str, ...]:
    """Return the texts of the shipped files."""
    return tuple(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in SHIPPED)


@lru_cache(maxsize=2)
def catalogue_in_force(texts: tuple[str, ...]) -> Catalogue:
    """Return the newer of the catalogue in the texts (none: no other) and the shipped one."""
    shipped = shipped_catalogue()
    other = parse_catalogue(*texts) if texts else shipped
    return other if other.edition > shipped.edition else shipped


@cache
def shipped_catalogue() -> Catalogue:
    """Return the catalogue that comes with this version."""
    return parse_catalogue(*shipped_texts())
