"""The catalogue: features, each a named set of endpoint patterns, read from data files beside this module."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from arcgate.core.errors import InputError
from arcgate.core.patterns import EndpointPattern, parse_pattern

ALL_FEATURES = "*"


@dataclass(frozen=True, slots=True)
class Feature:
    """A named set of endpoint patterns with its purpose."""

    name: str
    title: str
    purpose: str
    endpoints: tuple[EndpointPattern, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All features by name, with the source that they were taken from."""

    features: Mapping[str, Feature]
    source: str

    def expand(self, names: Iterable[str]) -> list[Feature]:
        """Return the features that the names stand for, in the catalogue's order; `*` stands for all.

        Names compare without case. Names that the catalogue doesn't know are left out: a gateway refuses
        what it can't understand. `check_names` tells them apart beforehand.
        """
        wanted = {name.lower() for name in names}
        if ALL_FEATURES in wanted:
            return list(self.features.values())
        return [feature for feature in self.features.values() if feature.name.lower() in wanted]

    def check_names(self, names: Iterable[str], endpoint_sets: Iterable[str] = ()) -> None:
        """Raise InputError (FEATURE_UNKNOWN) if a name is neither `*`, a feature nor an endpoint set."""
        known = {
            ALL_FEATURES,
            *(name.lower() for name in self.features),
            *(name.lower() for name in endpoint_sets),
        }
        for name in names:
            if name.lower() not in known:
                raise InputError(
                    "FEATURE_UNKNOWN",
                    f"There is no feature or endpoint set named {name!r}.",
                    remedy="Use '*' (quoted, so that the shell leaves it alone), an endpoint set's name, or names of: "
                    f"{', '.join(self.features)}.",
                )


def parse_catalogue(text: str) -> Catalogue:
    """Return the catalogue that a TOML text holds; raises InputError (PATTERN_INVALID) or TOMLDecodeError."""
    document = tomllib.loads(text)
    features = {
        name: Feature(name, body["title"], body["purpose"], tuple(parse_pattern(line) for line in body["endpoints"]))
        for name, body in document["features"].items()
    }
    source = document["source"]
    return Catalogue(features, f"{source['title']} ({source['date']})")


@cache
def shipped_catalogue() -> Catalogue:
    """Return the catalogue that comes with this version."""
    return parse_catalogue(files(__package__).joinpath("azure.toml").read_text(encoding="utf-8"))
