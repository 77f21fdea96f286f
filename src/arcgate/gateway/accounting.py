"""Accounting: every tunnel tells its story exactly once, one start and one end, or one refusal."""

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Any

from arcgate.core.audit import AuditRecord, Event
from arcgate.core.resource_ids import GATEWAY_TYPE, MACHINE_TYPE, parse_resource_id
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.spool import Spool, SpoolFull
from arcgate.gateway.tunnels import Tunnel


class Accounting:
    """Writes the audit records of tunnels to the spool. `clock` gives the current time, aware."""

    def __init__(self, spool: Spool, node: str, clock: Callable[[], datetime]) -> None:
        self._spool = spool
        self._node = node
        self._clock = clock
        self._started: dict[str, float] = {}

    def start(self, tunnel: Tunnel) -> None:
        """Record that the tunnel is about to open; raises SpoolFull, and then it must not open."""
        self._spool.append(self._record(Event.START, tunnel, "allowed", tunnel.verdict.reason, tunnel.verdict.detail))
        self._started[tunnel.id] = monotonic()

    def end(self, tunnel: Tunnel, reason: EndReason | str, detail: str = "") -> None:
        """Record the end of a tunnel that was started; does nothing for one that wasn't, or has ended."""
        started = self._started.pop(tunnel.id, None)
        if started is None:
            return
        self._spool.append(
            self._record(
                Event.END,
                tunnel,
                "allowed",
                reason,
                detail,
                bytes_up=tunnel.traffic.up,
                bytes_down=tunnel.traffic.down,
                duration=round(monotonic() - started, 6),
            )
        )

    def refuse(self, tunnel: Tunnel, verdict: Verdict) -> Verdict:
        """Record a refusal; return the verdict to answer with, another one when nothing can be recorded."""
        try:
            self._spool.append(self._record(Event.REFUSAL, tunnel, "refused", verdict.reason, verdict.detail))
        except SpoolFull as error:
            return Verdict(Reason.AUDIT_UNAVAILABLE, detail=str(error))
        return verdict

    def _record(
        self, event: Event, tunnel: Tunnel, verdict: str, reason: str, detail: str, **measured: Any
    ) -> AuditRecord:
        machine, gateway = tunnel.admission.machine, tunnel.admission.gateway
        certificate = tunnel.certificate
        return AuditRecord(
            event=event,
            tunnel_id=tunnel.id,
            correlation_id=tunnel.correlation_id,
            time=self._clock().isoformat(timespec="milliseconds"),
            node=self._node,
            machine_id=certificate.identity.machine_id if certificate else "",
            machine=machine.resource_id if machine else "",
            tenant_id=gateway.tenant_id if gateway else "",
            subscription_id=_subscription_of(
                machine.resource_id if machine else "", gateway.resource_id if gateway else ""
            ),
            gateway=gateway.resource_id if gateway else "",
            client_address=tunnel.client_address,
            target=tunnel.target.authority,
            resolved_address=str(tunnel.address) if tunnel.address else "",
            feature=tunnel.verdict.feature,
            rule=tunnel.verdict.rule,
            verdict=verdict,
            reason=reason,
            detail=detail,
            policy_revision=tunnel.policy_revision,
            **measured,
        )


def _subscription_of(machine: str, gateway: str) -> str:
    """Return the subscription that a record belongs to: the machine's, else the gateway's."""
    if machine:
        return parse_resource_id(machine, MACHINE_TYPE).subscription_id
    return parse_resource_id(gateway, GATEWAY_TYPE).subscription_id if gateway else ""
