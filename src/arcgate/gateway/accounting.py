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
"""Keys of a record that differ between a tunnel's start and its end, and stand behind the others."""

_OWN_OF_START = b',"event":"start",'
"""Where they begin in a start record; in a text the quotes would be escaped."""


class Accounting:
    """Writes the audit records of tunnels to the spool. `clock` gives the current time, aware."""

    def __init__(self, spool: Spool, node: str, clock: Callable[[], datetime]) -> None:
        self._spool = spool
        self._node = node
        self._clock = clock

    def start(self, tunnel: Tunnel) -> None:
        """Record that the tunnel is about to open; raises SpoolFull, and then it must not open."""
        record = self._record(Event.START, tunnel, tunnel.verdict.name, tunnel.verdict.reason, tunnel.verdict.detail)
        document = record.to_json()
        own = _encode({key: document[key] for key in _NOT_SHARED})[1:]
        self._spool.append_line(Event.START, tunnel.id, f"{_shared(document)},{own}")
        tunnel.started = monotonic()

    def end(self, tunnel: Tunnel, reason: EndReason | str, detail: str = "") -> None:
        """Record the end of a tunnel that was started; does nothing for one that wasn't, or has ended."""
        started, tunnel.started = tunnel.started, None
        if started is None:
            return
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
        self._spool.append_line(Event.END, tunnel.id, f"{self._shared_of(tunnel)},{own[1:]}")

    def _shared_of(self, tunnel: Tunnel) -> str:
        """Return what the end shares with the start. It was encoded for that, and is a good part of a record's cost."""
        if line := self._spool.start_of(tunnel.id):
            return line[: line.rindex(_OWN_OF_START)].decode("ascii")
        return _shared(self._record(Event.END, tunnel, tunnel.verdict.name, "", "").to_json())

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


def _shared(document: dict[str, Any]) -> str:
    """Return the beginning of a record that a tunnel's start and end have in common."""
    return _encode({key: value for key, value in document.items() if key not in _NOT_SHARED})[:-1]


@lru_cache(maxsize=10_000)
def _subscription_of(machine: str, gateway: str) -> str:
    """Return the subscription that a record belongs to: the machine's, else the gateway's."""
    if machine:
        return parse_resource_id(machine, MACHINE_TYPE).subscription_id
    return parse_resource_id(gateway, GATEWAY_TYPE).subscription_id if gateway else ""
