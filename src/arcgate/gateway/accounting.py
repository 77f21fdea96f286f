"""Accounting: every tunnel tells its story exactly once, one start and one end, or one refusal."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Any

from arcgate.core.audit import INCOMING, AuditRecord, Event, printable
from arcgate.core.resource_ids import GATEWAY_TYPE, MACHINE_TYPE, parse_resource_id
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.spool import Spool, SpoolFull
from arcgate.gateway.tunnels import Tunnel

_encode = json.JSONEncoder(separators=(",", ":")).encode

_NOT_SHARED = (
    *("event", "time", "reason", "detail", "resolvedAddress", "bytesUp", "bytesDown", "duration"),
    "handedOver",
)
"""Keys of a record that differ between a tunnel's start and its end."""


class Accounting:
    """Writes the audit records of tunnels to the spool. `clock` gives the current time, aware."""

    def __init__(self, spool: Spool, node: str, clock: Callable[[], datetime]) -> None:
        self._spool = spool
        self._node = node
        self._clock = clock
        self._started: dict[str, tuple[float, str]] = {}

    def start(self, tunnel: Tunnel) -> None:
        """Record that the tunnel is about to open; raises SpoolFull, and then it must not open."""
        record = self._record(Event.START, tunnel, tunnel.verdict.name, tunnel.verdict.reason, tunnel.verdict.detail)
        document = record.to_json()
        # What start and end share is encoded once: the records are a good part of a small tunnel's cost.
        shared = _encode({key: value for key, value in document.items() if key not in _NOT_SHARED})[1:-1]
        own = _encode({key: document[key] for key in _NOT_SHARED})[1:]
        self._spool.append_line(Event.START, tunnel.id, f"{{{shared},{own}")
        self._started[tunnel.id] = monotonic(), shared

    def end(self, tunnel: Tunnel, reason: EndReason | str, detail: str = "") -> None:
        """Record the end of a tunnel that was started; does nothing for one that wasn't, or has ended."""
        begun = self._started.pop(tunnel.id, None)
        if begun is None:
            return
        started, shared = begun
        own = _encode(
            {
                "event": Event.END,
                "time": self._now(),
                "reason": reason,
                "detail": printable(detail),
                "resolvedAddress": str(tunnel.address) if tunnel.address else "",
                "bytesUp": tunnel.traffic.up,
                "bytesDown": tunnel.traffic.down,
                "duration": round(monotonic() - started, 6),
                "handedOver": tunnel.was_handed_over,
            }
        )
        self._spool.append_line(Event.END, tunnel.id, f"{{{shared},{own[1:]}")

    def refuse(self, tunnel: Tunnel, verdict: Verdict) -> Verdict:
        """Record a refusal; return the verdict to answer with, another one when nothing can be recorded."""
        try:
            self._spool.append(self._record(Event.REFUSAL, tunnel, "refused", verdict.reason, verdict.detail))
        except SpoolFull as error:
            return Verdict(Reason.AUDIT_UNAVAILABLE, detail=str(error))
        return verdict

    def observe(self, tunnel: Tunnel, verdict: Verdict) -> None:
        """Record what would have been refused, of a tunnel that goes on; raises SpoolFull."""
        self._spool.append(self._record(Event.REFUSAL, tunnel, "audited", verdict.reason, verdict.detail))

    def _now(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")

    def _record(
        self, event: Event, tunnel: Tunnel, verdict: str, reason: str, detail: str, **measured: Any
    ) -> AuditRecord:
        machine, gateway = tunnel.admission.machine, tunnel.admission.gateway
        return AuditRecord(
            event=event,
            tunnel_id=tunnel.id,
            correlation_id=tunnel.correlation_id,
            time=self._now(),
            node=self._node,
            machine_id=tunnel.machine_id,
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
            authentication=tunnel.authentication,
            direction=INCOMING if tunnel.incoming_to else "",
            requester=tunnel.requester,
            process=tunnel.process,
            **measured,
        )


@lru_cache(maxsize=10_000)
def _subscription_of(machine: str, gateway: str) -> str:
    """Return the subscription that a record belongs to: the machine's, else the gateway's."""
    if machine:
        return parse_resource_id(machine, MACHINE_TYPE).subscription_id
    return parse_resource_id(gateway, GATEWAY_TYPE).subscription_id if gateway else ""
