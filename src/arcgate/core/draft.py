"""Drafts: a change of the policy that somebody may look at, replay and apply.

    {"gateway": resource id, "machineGroup": name or null, "allowedFeatures": [name, ...], "policy": settings or null,
     "endpointSets": [{"name", "endpoints": [pattern, ...], "allowPrivate": bool}, ...], "evidence": [...]}

With a machine group the features are the group's, otherwise the gateway's. `policy` of null leaves the gateway's
settings as they are, but for the mode, which is enforce. `evidence` is for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arcgate.core.errors import InputError
from arcgate.core.patterns import parse_pattern
from arcgate.core.policy_settings import Mode, PolicySettings, parse_policy, render_policy
from arcgate.core.snapshot import Entry, Gateway, Kind, MachineGroup, Snapshot

DRAFT_PREFIX = "draft/"
"""Where a draft's endpoint sets stand in a snapshot, so that they hide none of another tenant."""


@dataclass(frozen=True, slots=True)
class DraftSet:
    """An endpoint set of a draft."""

    name: str
    endpoints: tuple[str, ...]
    allow_private: bool

    def to_json(self) -> dict[str, Any]:
        """Return the set as it stands in a draft."""
        return {"name": self.name, "endpoints": list(self.endpoints), "allowPrivate": self.allow_private}


@dataclass(frozen=True, slots=True)
class Draft:
    """A change of one gateway's, or one machine group's, policy."""

    gateway: str
    machine_group: str | None
    allowed_features: tuple[str, ...]
    policy: PolicySettings | None
    endpoint_sets: tuple[DraftSet, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the draft as a document."""
        return {
            "gateway": self.gateway,
            "machineGroup": self.machine_group,
            "allowedFeatures": list(self.allowed_features),
            "policy": None if self.policy is None else render_policy(self.policy),
            "endpointSets": [one.to_json() for one in self.endpoint_sets],
        }


def parse_draft(document: Any) -> Draft:
    """Return the draft of a document; raises InputError (DRAFT_INVALID, PATTERN_INVALID or POLICY_INVALID)."""
    try:
        sets = tuple(_parse_set(one) for one in document.get("endpointSets", []))
        group = document.get("machineGroup")
        features = document["allowedFeatures"]
        if not isinstance(features, list) or not all(isinstance(one, str) for one in features):
            raise TypeError("allowedFeatures is a list of names")
        if not (group is None or isinstance(group, str)) or not isinstance(document["gateway"], str):
            raise TypeError("gateway and machineGroup are texts")
        policy = document.get("policy")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "DRAFT_INVALID",
            "The draft can't be read.",
            cause=str(error),
            remedy="Begin with what 'arcgate policy propose --file FILE' writes.",
        ) from None
    settings = None if policy is None else parse_policy(policy)
    return Draft(document["gateway"], group, tuple(features), settings, sets)


def _parse_set(document: Mapping[str, Any]) -> DraftSet:
    name, endpoints, private = document["name"], document["endpoints"], document.get("allowPrivate", False)
    if not isinstance(name, str) or not isinstance(endpoints, list) or not isinstance(private, bool):
        raise TypeError("an endpoint set has name, endpoints and allowPrivate")
    return DraftSet(name, tuple(parse_pattern(str(one)).text for one in endpoints), private)


def with_draft(snapshot: Snapshot, gateway: Gateway, group: MachineGroup | None, draft: Draft) -> Snapshot:
    """Return the snapshot as it would be with the draft applied and enforced."""
    known = snapshot.entries[Kind.GATEWAY, gateway.prefix].body
    assert known is not None
    settings = render_policy(gateway.policy if draft.policy is None else draft.policy) | {"mode": str(Mode.ENFORCE)}
    features = {"allowedFeatures": list(draft.allowed_features)}
    revision = snapshot.revision + 1
    entries = [
        Entry(Kind.GATEWAY, gateway.prefix, revision, {**known, **({} if group else features), "policy": settings}),
        *(
            Entry(
                Kind.ENDPOINT_SET,
                _key_of(snapshot, gateway, one),
                revision,
                {**one.to_json(), "tenantId": gateway.tenant_id},
            )
            for one in draft.endpoint_sets
        ),
    ]
    if group is not None:
        body = snapshot.entries[Kind.MACHINE_GROUP, group.id].body
        assert body is not None
        entries.append(Entry(Kind.MACHINE_GROUP, group.id, revision, {**body, **features, "mode": str(Mode.ENFORCE)}))
    return snapshot.apply(entries, revision)


def _key_of(snapshot: Snapshot, gateway: Gateway, one: DraftSet) -> str:
    """Return the key of the set that the draft's would replace."""
    for key, known in snapshot.endpoint_sets.items():
        if known.tenant_id == gateway.tenant_id and known.name.lower() == one.name.lower():
            return key
    return DRAFT_PREFIX + one.name.lower()
