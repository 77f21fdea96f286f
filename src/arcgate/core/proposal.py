"""Proposals: the smallest rules that let through what was seen, mapped to the catalogue.

`exact` names each target that was seen and nothing else. `feature` names the fewest features and scenarios that
hold them, pins their wildcards over public suffixes to what was seen, and lists the rest by name.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from typing import Any

from arcgate.core.catalogue import Catalogue
from arcgate.core.draft import Draft, DraftSet
from arcgate.core.names import HostName, Target
from arcgate.core.observation import Observation, sums
from arcgate.core.patterns import DEFAULT_PORT, EndpointPattern, PatternTrie
from arcgate.core.policy_settings import Mode
from arcgate.core.snapshot import Gateway, MachineGroup, Snapshot

LONGEST_SUBJECT = 70
"""Characters of a gateway's or group's name in those of its endpoint sets, which have at most 90."""


class Basis(StrEnum):
    """What a proposal names: targets one by one, or features of the catalogue."""

    EXACT = "exact"
    FEATURE = "feature"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft with the reason for each endpoint in it."""

    draft: Draft
    evidence: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the draft's document with its evidence."""
        return {**self.draft.to_json(), "evidence": [dict(one) for one in self.evidence]}


def propose(
    observations: Iterable[Observation],
    gateway: Gateway,
    group: MachineGroup | None,
    snapshot: Snapshot,
    catalogue: Catalogue,
    basis: Basis,
    is_public_suffix: Callable[[str], bool],
) -> Proposal:
    """Return the smallest rules for what has passed, of a machine group if one is given."""
    seen: dict[Target, list[Observation]] = {}
    for one in observations:
        if one.has_passed:
            seen.setdefault(one.place(), []).append(one)
    holders = _holders(seen, catalogue, gateway)
    private = {target for target in seen if _was_private(seen[target], gateway, snapshot)}
    names = _fewest(set(seen) - private, holders) if basis is Basis.FEATURE else []
    covered = {target for name in names for target in holders[name]} - private
    sets = _sets(_free_title(gateway, group, snapshot), set(seen) - covered, private)
    pins = dict(gateway.policy.pins) | _pins(names, covered, catalogue, gateway, is_public_suffix)
    settings = replace(gateway.policy, mode=Mode.ENFORCE, audited_features=(), pins=tuple(sorted(pins.items())))
    draft = Draft(
        gateway.resource_id,
        group.name if group else None,
        (*names, *(one.name for one in sets)),
        None if group else settings,
        sets,
    )
    return Proposal(draft, tuple(_evidence(target, seen[target], holders) for target in sorted(seen, key=str)))


def endpoint_text(target: Target) -> str:
    """Return the pattern that holds the target and nothing else."""
    host, _, port = target.authority.rpartition(":")
    return host if port == str(DEFAULT_PORT) else target.authority


def _holders(seen: Iterable[Target], catalogue: Catalogue, gateway: Gateway) -> dict[str, set[Target]]:
    """Return the targets that each feature and scenario holds."""
    seen = list(seen)
    result: dict[str, set[Target]] = {}
    for name in catalogue.names:
        patterns = catalogue.patterns([name], dict(gateway.policy.parameters))
        trie = PatternTrie((pattern, True) for _, pattern in patterns)
        result[name] = {target for target in seen if trie.find(target)}
    return result


def _fewest(targets: set[Target], holders: Mapping[str, set[Target]]) -> list[str]:
    """Return names that together hold all targets that any name holds: most new ones first, then by name."""
    chosen: list[str] = []
    left = set(targets)
    while left:
        best = min(holders, key=lambda name: (-len(holders[name] & left), name), default="")
        if not best or not holders[best] & left:
            break
        chosen.append(best)
        left -= holders[best]
    return sorted(chosen)


def _was_private(observations: list[Observation], gateway: Gateway, snapshot: Snapshot) -> bool:
    names = {one.feature for one in observations}
    sets = snapshot.endpoint_sets.values()
    return any(one.allow_private and one.tenant_id == gateway.tenant_id and one.name in names for one in sets)


def _free_title(gateway: Gateway, group: MachineGroup | None, snapshot: Snapshot) -> str:
    """Return a name for endpoint sets that nobody else uses: names of sets hold throughout the tenant."""
    name = (group.name if group else gateway.resource_id.rpartition("/")[2])[:LONGEST_SUBJECT]
    titles = (f"learned-{name}{'' if number == 1 else f'-{number}'}" for number in count(1))
    return next(one for one in titles if not {one.lower(), f"{one}-private".lower()} & _taken(gateway, group, snapshot))


def _taken(gateway: Gateway, group: MachineGroup | None, snapshot: Snapshot) -> set[str]:
    """Return names, in lower case, of sets that others name, or that are not beside the gateway."""
    tenant, place = gateway.tenant_id, gateway.resource_id.lower().partition("/providers/")[0] + "/providers/"
    gateways = [one for one in snapshot.gateways.values() if one.tenant_id == tenant and (group or one != gateway)]
    groups = [one for one in snapshot.machine_groups.values() if one.tenant_id == tenant and one != group]
    named = [name for one in gateways for name in (*one.allowed_features, *one.policy.audited_features)]
    named += [name for one in groups for name in (*(one.allowed_features or ()), *one.audited_features)]
    sets = snapshot.endpoint_sets.items()
    away = [one.name for key, one in sets if one.tenant_id == tenant and not key.startswith(place)]
    return {name.lower() for name in (*named, *away)}


def _sets(title: str, targets: set[Target], private: set[Target]) -> tuple[DraftSet, ...]:
    def one(name: str, members: set[Target], *, allow_private: bool) -> list[DraftSet]:
        endpoints = tuple(sorted(endpoint_text(target) for target in members))
        return [DraftSet(name, endpoints, allow_private)] if endpoints else []

    public = one(title, targets - private, allow_private=False)
    return tuple(public + one(f"{title}-private", private, allow_private=True))


def _pins(
    names: list[str],
    targets: set[Target],
    catalogue: Catalogue,
    gateway: Gateway,
    is_public_suffix: Callable[[str], bool],
) -> dict[str, tuple[HostName, ...]]:
    patterns = catalogue.patterns(names, dict(gateway.policy.parameters))
    hosts = {pattern.host for _, pattern in patterns if isinstance(pattern.host, str)}
    wide = {host for host in hosts if host.startswith("*.") and is_public_suffix(host[2:])}
    return {host: tuple(sorted(_below(host, targets))) for host in wide}


def _below(wildcard: str, targets: set[Target]) -> set[HostName]:
    pattern = EndpointPattern(wildcard, wildcard, None)
    return {target.host for target in targets if isinstance(target.host, str) and pattern.matches(target)}


def _evidence(target: Target, observations: list[Observation], holders: Mapping[str, set[Target]]) -> dict[str, Any]:
    return {
        "endpoint": endpoint_text(target),
        "names": [name for name, targets in holders.items() if target in targets],
        "machines": len({one.machine_id for one in observations}),
        **sums(observations),
    }
