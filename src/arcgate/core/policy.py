"""The gateway's policy: pure decisions on who asks, where to, and which address that is.

Three questions in the order of a tunnel's life: `Policy.admit` (who), `Policy.decide` (where to, by name),
`Policy.decide_address` (which resolved address). Each returns a Verdict; nothing here raises for a refusal.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address

from arcgate.core.addresses import NEVER_A_TARGET, OPEN_BY_ALLOW_PRIVATE, AddressClass, Network, classify
from arcgate.core.catalogue import Catalogue
from arcgate.core.names import Target
from arcgate.core.patterns import PatternTrie
from arcgate.core.rules import Rule, Scope, rules_of
from arcgate.core.snapshot import Gateway, GroupLimits, Machine, MachineGroup, Snapshot
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


@dataclass(frozen=True)
class Policy:
    """Decisions of one snapshot. Immutable; a node replaces it by one assignment when a revision arrives."""

    snapshot: Snapshot
    catalogue: Catalogue
    open_networks: tuple[Network, ...] = ()
    _scopes: dict[tuple[str, tuple[str, ...]], Scope] = field(default_factory=dict, repr=False, compare=False)
    _limits: dict[str, GroupLimits | None] = field(default_factory=dict, repr=False, compare=False)
    _scopes_by_machine: dict[str, Scope] = field(default_factory=dict, repr=False, compare=False)
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

    def admit_requester(self, gateway_prefix: str | None, machine_id: str) -> Admission:
        """Decide whether connections to the machine may come in by the gateway; who may make them is another's say."""
        if self.snapshot.revision == 0:
            return Admission(Verdict(Reason.NO_POLICY))
        gateway = self.snapshot.gateways.get(gateway_prefix) if gateway_prefix is not None else None
        if gateway is None:
            return Admission(Verdict(Reason.GATEWAY_UNKNOWN))
        machine = self.snapshot.machines.get(machine_id)
        if machine is None:
            return Admission(Verdict(Reason.MACHINE_UNKNOWN), gateway)
        if machine.gateway != gateway.prefix:
            return Admission(Verdict(Reason.NOT_ASSOCIATED), gateway, machine)
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
        return self._scope_of(admission.gateway, admission.machine).decide(target)

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

    def groups_of(self, machine: Machine) -> list[MachineGroup]:
        """Return the groups that the machine is in, in the order of their ids."""
        return [group for _, group in sorted(self.snapshot.machine_groups.items()) if group.has(machine)]

    def limits_of(self, machine_id: str) -> GroupLimits | None:
        """Return what the groups of a machine leave it: the least number of each kind; None without any group."""
        if not self.snapshot.machine_groups:
            return None
        if machine_id not in self._limits:
            self._limits[machine_id] = self._find_limits(machine_id)
        return self._limits[machine_id]

    def _find_limits(self, machine_id: str) -> GroupLimits | None:
        machine = self.snapshot.machines.get(machine_id)
        if machine is None:
            return None
        limits = [group.limits for group in self.groups_of(machine)]
        return GroupLimits(*(_least(values) for values in zip(*map(astuple, limits), strict=True))) if limits else None

    def scope_of(self, gateway: Gateway, groups: Iterable[MachineGroup]) -> Scope:
        """Return the rules that a machine in the groups has of the gateway; made once for each combination."""
        groups = tuple(groups)
        key = gateway.prefix, tuple(group.id for group in groups)
        if key not in self._scopes:
            self._scopes[key] = Scope(gateway, groups, self.snapshot, self.catalogue)
        return self._scopes[key]

    def _scope_of(self, gateway: Gateway, machine: Machine) -> Scope:
        # A machine is associated with one gateway, which has been compared before.
        found = self._scopes_by_machine.get(machine.id)
        if found is None:
            found = self._scopes_by_machine[machine.id] = self.scope_of(gateway, self.groups_of(machine))
        return found

    def _private_trie(self, gateway: Gateway) -> PatternTrie[Rule]:
        """Return the rules with allowPrivate alone: a more specific rule without it takes nothing away."""
        if gateway.prefix not in self._private_tries:
            rules = [rule for rule in rules_of(gateway, self.snapshot, self.catalogue) if rule.allow_private]
            self._private_tries[gateway.prefix] = PatternTrie((rule.pattern, rule) for rule in rules)
        return self._private_tries[gateway.prefix]


def _least(values: Iterable[int]) -> int:
    """Return the least of the numbers that say something; 0 says nothing."""
    return min((value for value in values if value), default=0)
