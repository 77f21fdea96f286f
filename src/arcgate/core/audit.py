"""Audit records: one start and one end for each tunnel, and one refusal for each request that was denied.

The JSON form is one object a line, keys as in `AuditRecord.to_json`; peers' text is bounded and printable,
so a record stays one line whatever somebody put into a name.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

LONGEST_TEXT = 300
"""Characters of any one text field that came from a peer; longer ones end in an ellipsis."""


INCOMING = "incoming"
"""Direction of a connection to the machine."""


class Event(StrEnum):
    """What a record tells of."""

    START = "start"
    END = "end"
    REFUSAL = "refusal"
    CONFLICT = "conflict"
    """Of a machine, not of a tunnel: two of them use one identity. The control plane writes it."""


class Authentication(StrEnum):
    """How a machine showed who it is."""

    CERTIFICATE = "certificate"
    SIGNATURE = "signature"
    """By a proof on each request: something on the path opens the channel's TLS."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One event of one tunnel. Times are ISO 8601 in UTC; bytes are None where they can't be known."""

    event: Event
    tunnel_id: str
    """Identifies the tunnel; start and end share it."""
    correlation_id: str
    """Chosen by Arc Proxy, found in its log too."""
    time: str
    node: str
    machine_id: str
    machine: str
    """Resource id of the machine, empty when none is known."""
    tenant_id: str
    subscription_id: str
    gateway: str
    """Resource id of the gateway, empty when none is known."""
    client_address: str
    target: str
    resolved_address: str
    feature: str
    rule: str
    verdict: str
    """allowed, refused, or audited: what would have been refused, but for the audit mode."""
    reason: str
    """A code of `Reason` (start, refusal) or `EndReason` (end)."""
    detail: str
    policy_revision: int
    bytes_up: int | None = None
    """Bytes from the client to the target."""
    bytes_down: int | None = None
    duration: float | None = None
    """Seconds."""
    handed_over: bool | None = None
    """Whether the tunnel left the channel's TLS; None in starts and refusals, and where it can't be known."""
    authentication: str = ""
    """An `Authentication`, empty for a client that showed nothing."""
    direction: str = ""
    """`INCOMING` for connections to the machine; empty for those that it makes."""
    requester: str = ""
    """Who connected to the machine: name and principal id."""
    process: str = ""
    """Which user and process of the machine opened the tunnel: what the machine says, which nobody has verified."""

    def to_json(self) -> dict[str, Any]:
        """Return the record with camelCase keys, texts bounded and made printable."""
        values = ((key, getattr(self, name)) for name, key in _KEYS)
        return {key: printable(value) if isinstance(value, str) else value for key, value in values}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "AuditRecord":
        """Return the record that `to_json` wrote; raises KeyError, TypeError or ValueError on another document."""
        values = {name: document[key] for name, key in _KEYS if key in document or key not in _LATER}
        values["event"] = Event(values["event"])
        return cls(**values)


def printable(text: str, limit: int = LONGEST_TEXT) -> str:
    """Return the text on one line, control and direction characters escaped, at most `limit` characters."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_KEYS = tuple((one.name, _camel(one.name)) for one in fields(AuditRecord))
"""Attributes of a record with their JSON keys."""

_LATER = ("handedOver", "authentication", "direction", "requester", "process")
"""Keys that nodes of an earlier version don't send."""
