"""Who a client certificate stands for. TLS has verified the chain; here its names are read, strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ssl import cert_time_to_seconds
from typing import Any

from arcgate.core.policy import Identity

_GUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_MACHINE_URI = re.compile(rf"urn:arcgate:machine:(?P<tenant>{_GUID}):(?P<machine>{_GUID})\Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The identity of a verified client certificate and the moment it expires."""

    identity: Identity
    not_after: datetime


def read_certificate(facts: Mapping[str, Any]) -> Certificate | None:
    """Return whom the facts (`SSLObject.getpeercert()`) name; None unless exactly one machine is named."""
    names = [name for kind, name in facts.get("subjectAltName", ()) if kind == "URI"]
    match = _MACHINE_URI.match(names[0]) if len(names) == 1 else None
    serial = str(facts.get("serialNumber", ""))
    if match is None or _SERIAL.match(serial) is None:
        return None
    expires = datetime.fromtimestamp(cert_time_to_seconds(facts["notAfter"]), UTC)
    return Certificate(Identity(match["machine"], match["tenant"], serial.lower().lstrip("0")), expires)
