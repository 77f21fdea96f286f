"""What a new edition of the catalogue changes: endpoints that come and go, by feature and scenario."""

from collections.abc import Iterable
from dataclasses import dataclass

from arcgate.core.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Change:
    """Endpoints that one feature or scenario gains and loses; `kind` is `feature` or `scenario`."""

    kind: str
    name: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


def difference(old: Catalogue, new: Catalogue) -> list[Change]:
    """Return what differs, sorted by kind and name; a whole feature that is new has all endpoints added."""
    before, after = _lists(old), _lists(new)
    changes = [_change(key, before.get(key, ()), after.get(key, ())) for key in sorted({*before, *after})]
    return [change for change in changes if change.added or change.removed]


def _lists(catalogue: Catalogue) -> dict[tuple[str, str], tuple[str, ...]]:
    features = {("feature", one.name): tuple(map(str, one.endpoints)) for one in catalogue.features.values()}
    scenarios = {
        ("scenario", one.name): tuple(endpoint.text for endpoint in one.endpoints)
        for one in catalogue.scenarios.values()
    }
    return features | scenarios


def _change(key: tuple[str, str], old: Iterable[str], new: Iterable[str]) -> Change:
    before, after = set(old), set(new)
    return Change(*key, added=tuple(sorted(after - before)), removed=tuple(sorted(before - after)))
