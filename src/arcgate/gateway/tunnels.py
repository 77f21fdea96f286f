"""Open tunnels: registered before they are checked, checked again whenever the policy changes, each cut on demand.

The order matters: a change that arrives while a tunnel is being opened finds it here, so nothing slips
through between the check and the relay.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from arcgate.core.audit import Authentication
from arcgate.core.names import Address, Target
from arcgate.core.policy import Admission, Policy
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.identity import Certificate
from arcgate.net.relay import Traffic

_END_REASONS = {
    Reason.NOT_ASSOCIATED: EndReason.ASSOCIATION_REMOVED,
    Reason.CERTIFICATE_REVOKED: EndReason.CERTIFICATE_REVOKED,
    Reason.GATEWAY_UNKNOWN: EndReason.GATEWAY_DELETED,
    Reason.MACHINE_UNKNOWN: EndReason.MACHINE_DELETED,
    Reason.SIGNED_CHANNEL_NOT_ALLOWED: EndReason.SIGNED_CHANNEL_NOT_ALLOWED,
}


@dataclass(eq=False, slots=True)
class Tunnel:
    """A tunnel from its CONNECT to its end."""

    id: str
    correlation_id: str
    gateway_prefix: str | None
    certificate: Certificate | None
    target: Target
    client_address: str
    admission: Admission
    verdict: Verdict
    policy_revision: int
    address: Address | None = None
    started: float | None = None
    """When its start was recorded, by a steady clock; None before that and after its end."""
    traffic: Traffic = field(default_factory=Traffic)
    was_handed_over: bool = False
    end_detail: str = ""
    cut_reason: EndReason | None = None
    task: "asyncio.Task[Any] | None" = None
    cancelled_before: int = 0
    """How often its task had been cancelled when it took the tunnel."""
    by_signed_channel: bool = False
    """Whether TLS was opened on the path, so that the machine signs its requests."""
    process: str = ""
    """Who opened it on the machine, as the machine says; empty unless the node takes such claims."""
    incoming_to: str = ""
    """The machine that an incoming connection leads to; empty for tunnels that machines open."""
    requester: str = ""
    """Who makes the incoming connection."""

    @property
    def machine_id(self) -> str:
        """The machine whose tunnel this is, empty when that is not known."""
        return self.certificate.identity.machine_id if self.certificate else self.incoming_to

    @property
    def authentication(self) -> str:
        """What showed who asks; empty when nothing did."""
        if self.certificate is None:
            return ""
        return Authentication.SIGNATURE if self.by_signed_channel else Authentication.CERTIFICATE

    def cut(self, reason: EndReason) -> None:
        """End the tunnel now; its end record will give the reason."""
        if self.cut_reason is None:
            self.cut_reason = reason
            if self.task is not None:
                self.task.cancel()

    def belong_to_this_task(self) -> None:
        """Have the running task take the tunnel: a cut cancels it."""
        task = asyncio.current_task()
        assert task is not None
        self.task, self.cancelled_before = task, task.cancelling()

    def take_cut_back(self) -> bool:
        """Let the task go on after the cut that cancelled it; False when it has to end, since not only the cut did."""
        return self.cut_reason is not None and self.task is not None and self.task.uncancel() <= self.cancelled_before

    def check_again(self, policy: Policy) -> EndReason | None:
        """Return why the policy forbids the tunnel, None while it doesn't."""
        identity = self.certificate.identity if self.certificate else None
        if self.incoming_to:
            return self._check_incoming(policy)
        admission = policy.admit(self.gateway_prefix, identity, by_signed_channel=self.by_signed_channel)
        verdict = policy.decide(admission, self.target)
        gateway = self.admission.gateway
        if verdict.is_allowed and verdict.reason is not Reason.CONTROL_PLANE and gateway is not None and self.address:
            current = policy.snapshot.gateways[gateway.prefix]
            verdict = policy.decide_address(verdict, current, self.target, self.address)
        return None if verdict.is_allowed else _END_REASONS.get(verdict.reason, EndReason.TARGET_NOT_ALLOWED)

    def _check_incoming(self, policy: Policy) -> EndReason | None:
        refusal = policy.admit_requester(self.gateway_prefix, self.incoming_to).refusal
        if refusal is None and self.certificate is not None:
            refusal = policy.admit(
                self.gateway_prefix, self.certificate.identity, by_signed_channel=self.by_signed_channel
            ).refusal
        return None if refusal is None else _END_REASONS.get(refusal.reason, EndReason.TARGET_NOT_ALLOWED)


class OpenTunnels:
    """All tunnels of a worker that have not ended."""

    def __init__(self) -> None:
        self._tunnels: set[Tunnel] = set()

    def __len__(self) -> int:
        return len(self._tunnels)

    def add(self, tunnel: Tunnel) -> None:
        """Register a tunnel."""
        self._tunnels.add(tunnel)

    def discard(self, tunnel: Tunnel) -> None:
        """Forget a tunnel that has ended."""
        self._tunnels.discard(tunnel)

    def check_again(self, policy: Policy) -> int:
        """Cut the tunnels that the policy forbids; return how many."""
        return self._cut((tunnel, tunnel.check_again(policy)) for tunnel in list(self._tunnels))

    def cut_expired(self, now: datetime) -> int:
        """Cut the tunnels of machines whose certificate has expired; return how many."""
        return self._cut(
            (tunnel, EndReason.CERTIFICATE_EXPIRED)
            for tunnel in list(self._tunnels)
            if tunnel.certificate is not None and tunnel.certificate.not_after <= now
        )

    def cut_machine(self, machine: str, reason: EndReason) -> int:
        """Cut the tunnels of one machine; return how many."""
        return self._cut((tunnel, reason) for tunnel in list(self._tunnels) if tunnel.machine_id == machine)

    @staticmethod
    def _cut(verdicts: Iterable[tuple[Tunnel, EndReason | None]]) -> int:
        count = 0
        for tunnel, reason in verdicts:
            if reason is not None:
                tunnel.cut(reason)
                count += 1
        return count
