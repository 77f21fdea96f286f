"""The gateway's policy: pure decisions on who asks, where to, and which address that is.

Three questions in the order of a tunnel's life: `Policy.admit` (who), `Policy.decide` (where to, by name),
`Policy.decide_address` (which resolved address). Each returns a Verdict; nothing here raises for a refusal.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from arcgate.core.addresses import NEVER_A_TARGET, OPEN_BY_ALLOW_PRIVATE, AddressClass, Network, classify
from arcgate.core.catalogue import Catalogue
from arcgate.core.names import Target
from arcgate.core.patterns import EndpointPattern, PatternTrie
from arcgate.core.snapshot import Gateway, Machine, Snapshot
from arcgate.core.verdicts import Reason, Verdict


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as the client certificate says; verified by TLS before it gets here."""

    machine_id: str
    tenant_id: str
    serial: str
    """The certificate's serial number, lower-case hexadecimal without leading zeros."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A verdict on who asks, with the machine and gateway that were found."""

    refusal: Verdict | None
    gateway: Gateway | None = None
    machine: Machine | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern with the feature that it came from and whether it may lead to private addresses."""

    pattern: EndpointPattern
    feature: str
    reason: Reason
    allow_private: bool


@dataclass(frozen=True)
class Policy:
    """Decisions of one snapshot. Immutable; a node replaces it by one assignment when a revision arrives."""

    snapshot: Snapshot
    catalogue: Catalogue
    open_networks: tuple[Network, ...] = ()
    _tries: dict[str, PatternTrie[Rule]] = field(default_factory=dict, repr=False, compare=False)
    _private_tries: dict[str, PatternTrie[Rule]] = field(default_factory=dict, repr=False, compare=False)

    def admit(
        self, gateway_prefix: str | None, identity: Identity | None, *, by_signed_channel: bool = False
    ) -> Admission:
        """Decide whether the client may use the gateway at all; no identity means no client certificate."""
        if self.snapshot.revision == 0 or self.snapshot.cloud is None:
            return Admission(Verdict(Reason.NO_POLICY))
        gateway = self.snapshot.gateways.get(gateway_prefix) if gateway_prefix is not None else None
        if gateway is None:
            return Admission(Verdict(Reason.GATEWAY_UNKNOWN))
        if by_signed_channel and not gateway.signed_channels:
            return Admission(Verdict(Reason.SIGNED_CHANNEL_NOT_ALLOWED), gateway)
        if identity is None:
            return Admission(None, gateway)
        machine = self.snapshot.machines.get(identity.machine_id)
        if machine is None or machine.tenant_id != identity.tenant_id:
            return Admission(Verdict(Reason.MACHINE_UNKNOWN), gateway)
        if identity.serial in machine.revoked_serials:
            return Admission(Verdict(Reason.CERTIFICATE_REVOKED), gateway, machine)
        return Admission(None, gateway, machine)

    def decide(self, admission: Admission, target: Target) -> Verdict:
        """Decide whether an admitted client may reach the target, by its name alone.

        The control plane is open to every client of a known gateway, so that a machine can be onboarded,
        and can recover, through the gateway alone; all else needs an associated machine.
        """
        if admission.refusal is not None:
            return admission.refusal
        assert admission.gateway is not None
        if (rule := self._control_trie.find(target)) is not None:
            return Verdict(rule.reason, rule.feature, rule.pattern.text)
        if admission.machine is None:
            return Verdict(Reason.CERTIFICATE_REQUIRED)
        if admission.machine.gateway != admission.gateway.prefix:
            return Verdict(Reason.NOT_ASSOCIATED)
        rule = self._gateway_trie(admission.gateway).find(target)
        if rule is None:
            return Verdict(Reason.TARGET_NOT_ALLOWED)
        return Verdict(rule.reason, rule.feature, rule.pattern.text)

    def decide_address(
        self, verdict: Verdict, gateway: Gateway, target: Target, address: IPv4Address | IPv6Address
    ) -> Verdict:
        """Decide whether the tunnel, allowed by name, may go to this resolved address."""
        kind = classify(address)
        if kind is AddressClass.PUBLIC:
            return verdict
        if kind not in NEVER_A_TARGET:
            if any(address in network for network in self.open_networks):
                return verdict
            if kind in OPEN_BY_ALLOW_PRIVATE and self._private_trie(gateway).find(target) is not None:
                return verdict
        return Verdict(Reason.ADDRESS_NOT_ALLOWED, verdict.feature, verdict.rule, f"{address} is {kind}")

    @cached_property
    def _control_trie(self) -> PatternTrie[Rule]:
        assert self.snapshot.cloud is not None
        hosts = self.snapshot.cloud.control_hosts
        rules = [Rule(host, "ControlPlane", Reason.CONTROL_PLANE, allow_private=False) for host in hosts]
        return PatternTrie((rule.pattern, rule) for rule in rules)

    def _gateway_trie(self, gateway: Gateway) -> PatternTrie[Rule]:
        if gateway.prefix not in self._tries:
            self._tries[gateway.prefix] = PatternTrie((rule.pattern, rule) for rule in self._rules_of(gateway))
        return self._tries[gateway.prefix]

    def _private_trie(self, gateway: Gateway) -> PatternTrie[Rule]:
        """Return the rules with allowPrivate alone: a more specific rule without it takes nothing away."""
        if gateway.prefix not in self._private_tries:
            rules = [rule for rule in self._rules_of(gateway) if rule.allow_private]
            self._private_tries[gateway.prefix] = PatternTrie((rule.pattern, rule) for rule in rules)
        return self._private_tries[gateway.prefix]

    def _rules_of(self, gateway: Gateway) -> list[Rule]:
        return rules_of(gateway, self.snapshot, self.catalogue)


def rules_of(gateway: Gateway, snapshot: Snapshot, catalogue: Catalogue) -> list[Rule]:
    """Return the rules of a gateway: own endpoint sets first (they may be more permissive), then features.

    A name in allowedFeatures that is neither a feature nor an endpoint set adds nothing. `*` stands for all
    features of the catalogue and all endpoint sets of the gateway's tenant.
    """
    wanted = {name.lower() for name in gateway.allowed_features}
    sets = [
        endpoint_set
        for _, endpoint_set in sorted(snapshot.endpoint_sets.items())  # every node decides the same
        if endpoint_set.tenant_id == gateway.tenant_id and ("*" in wanted or endpoint_set.name.lower() in wanted)
    ]
    own = [Rule(pattern, one.name, Reason.ENDPOINT_SET, one.allow_private) for one in sets for pattern in one.endpoints]
    return own + _feature_rules(catalogue, gateway.allowed_features)


def _feature_rules(catalogue: Catalogue, names: Iterable[str]) -> list[Rule]:
    return [
        Rule(pattern, feature.name, Reason.FEATURE, allow_private=False)
        for feature in catalogue.expand(names)
        for pattern in feature.endpoints
    ]
