"""Rules: what a gateway's names stand for, narrowed by pins and machine groups, and the decision among them.

A target passes when the gateway allows it and, if groups narrow the machine, one of the groups does too. What
doesn't pass is refused, or let through and recorded where the policy is in audit mode.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from arcgate.core.catalogue import ALL_FEATURES, Catalogue
from arcgate.core.names import HostName, Target
from arcgate.core.patterns import DEFAULT_PORT, EndpointPattern, PatternTrie, parse_pattern
from arcgate.core.policy_settings import Mode
from arcgate.core.snapshot import EndpointSet, Gateway, MachineGroup, Snapshot
from arcgate.core.verdicts import Reason, Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern with the feature that it came from and whether it may lead to private addresses."""

    pattern: EndpointPattern
    feature: str
    reason: Reason
    allow_private: bool

    @property
    def is_wildcard(self) -> bool:
        """Whether the rule holds more than one name."""
        return isinstance(self.pattern.host, str) and "*" in self.pattern.host


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A rule with the machine group that has it."""

    rule: Rule
    group: str


class Scope:
    """The rules that some machines have of one gateway: all those that are in the same groups."""

    def __init__(
        self, gateway: Gateway, groups: tuple[MachineGroup, ...], snapshot: Snapshot, catalogue: Catalogue
    ) -> None:
        narrowing = [group for group in groups if group.allowed_features is not None]
        self._allowed = _trie(rules_of(gateway, snapshot, catalogue))
        self._pins = PatternTrie(
            (pattern, frozenset(names)) for text, names in gateway.policy.pins for pattern in _any_port(text)
        )
        self._has_pins = bool(gateway.policy.pins)
        self._of_groups = _group_trie(gateway, narrowing, snapshot, catalogue) if narrowing else None
        self._trials = _trie(rules_of(gateway, snapshot, catalogue, gateway.policy.audited_features))
        of_groups = [name for group in groups for name in group.audited_features]
        self._group_trials = _trie(rules_of(gateway, snapshot, catalogue, of_groups))
        self._observes_all = gateway.policy.mode is Mode.AUDIT
        self._groups_observe = any(group.mode is Mode.AUDIT for group in narrowing)

    def decide(self, target: Target) -> Verdict:
        """Decide whether the target is among the rules; a refusal that is only recorded is marked as audited."""
        rule = self._allowed.find(target)
        if rule is None:
            return self._missing(target)
        if self._has_pins and rule.is_wildcard and self._is_pinned_away(target):
            return Verdict(Reason.WILDCARD_PINNED, rule.feature, rule.pattern.text, is_audited=self._observes_all)
        if self._of_groups is None:
            return Verdict(rule.reason, rule.feature, rule.pattern.text)
        of_group = self._of_groups.find(target)
        if of_group is not None:
            return Verdict(rule.reason, rule.feature, rule.pattern.text, group=of_group.group)
        is_audited = self._observes_all or self._groups_observe or self._group_trials.find(target) is not None
        return Verdict(Reason.GROUP_NOT_ALLOWED, rule.feature, rule.pattern.text, is_audited=is_audited)

    def _missing(self, target: Target) -> Verdict:
        trial = self._trials.find(target)
        if trial is not None:
            return Verdict(Reason.FEATURE_AUDITED, trial.feature, trial.pattern.text, is_audited=True)
        if self._has_pins and self._is_pinned_away(target):
            return Verdict(Reason.WILDCARD_PINNED, is_audited=self._observes_all)
        return Verdict(Reason.TARGET_NOT_ALLOWED, is_audited=self._observes_all)

    def _is_pinned_away(self, target: Target) -> bool:
        names = self._pins.find(target)
        return names is not None and target.host not in names

    @property
    def observes(self) -> bool:
        """Whether targets that no rule allows are let through and recorded, of whatever name."""
        return self._observes_all


def rules_of(
    gateway: Gateway, snapshot: Snapshot, catalogue: Catalogue, names: Iterable[str] | None = None
) -> list[Rule]:
    """Return the rules behind names (default: all that the gateway allows), own endpoint sets first.

    Own sets may be more permissive than features, so they come first. A name that is neither a feature, a
    scenario nor an endpoint set adds nothing. `*` stands for all features of the catalogue and all endpoint
    sets of the gateway's tenant. Pinned wildcards are replaced by what remains of them.
    """
    names = tuple(gateway.allowed_features if names is None else names)
    sets = endpoint_sets_of(gateway.tenant_id, names, snapshot)
    own = [Rule(pattern, one.name, Reason.ENDPOINT_SET, one.allow_private) for one in sets for pattern in one.endpoints]
    # A tenant's own set hides a scenario of the same name: an update must not widen what somebody named before.
    hidden = {one.name.lower() for one in sets} - {name.lower() for name in catalogue.features}
    wanted = [name for name in names if name.lower() not in hidden]
    listed = catalogue.patterns(wanted, dict(gateway.policy.parameters))
    rules = own + [Rule(pattern, name, Reason.FEATURE, allow_private=False) for name, pattern in listed]
    pins = dict(gateway.policy.pins)
    return [pinned for rule in rules for pinned in _pinned(rule, pins)] if pins else rules


def endpoint_sets_of(tenant_id: str, names: Iterable[str], snapshot: Snapshot) -> list[EndpointSet]:
    """Return the tenant's endpoint sets that the names stand for, in the order of their ids."""
    wanted = {name.lower() for name in names}
    return [
        one
        for _, one in sorted(snapshot.endpoint_sets.items())  # every node decides the same
        if one.tenant_id == tenant_id and (ALL_FEATURES in wanted or one.name.lower() in wanted)
    ]


def _pinned(rule: Rule, pins: dict[str, tuple[HostName, ...]]) -> list[Rule]:
    names = pins.get(rule.pattern.host) if isinstance(rule.pattern.host, str) else None
    if names is None:
        return [rule]
    port = "" if rule.pattern.port == DEFAULT_PORT else f":{'*' if rule.pattern.port is None else rule.pattern.port}"
    patterns = (parse_pattern(f"{name}{port}") for name in names)
    return [Rule(pattern, rule.feature, rule.reason, rule.allow_private) for pattern in patterns]


def _any_port(wildcard: str) -> list[EndpointPattern]:
    return [parse_pattern(f"{wildcard}:*")]


def _trie(rules: Iterable[Rule]) -> PatternTrie[Rule]:
    return PatternTrie((rule.pattern, rule) for rule in rules)


def _group_trie(
    gateway: Gateway, groups: Iterable[MachineGroup], snapshot: Snapshot, catalogue: Catalogue
) -> PatternTrie[GroupRule]:
    rules = (
        GroupRule(rule, group.name)
        for group in groups
        for rule in rules_of(gateway, snapshot, catalogue, group.allowed_features)
    )
    return PatternTrie((one.rule.pattern, one) for one in rules)
