"""Who a client certificate stands for. TLS has verified the chain; here its names are read, strictly."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ssl import cert_time_to_seconds
from typing import Any

from cryptography import x509

from arcgate.core.guids import LOWER_GUID
from arcgate.core.policy import Identity

_MACHINE_URI = re.compile(rf"urn:arcgate:machine:(?P<tenant>{LOWER_GUID}):(?P<machine>{LOWER_GUID})\Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The identity of a verified client certificate and the moment it expires."""

    identity: Identity
    not_after: datetime


def read_certificate(facts: Mapping[str, Any]) -> Certificate | None:
    """Return whom the facts (`SSLObject.getpeercert()`) name; None unless exactly one machine is named."""
    names = tuple(name for kind, name in facts.get("subjectAltName", ()) if kind == "URI")
    return _read(names, str(facts.get("serialNumber", "")), str(facts.get("notAfter", "")))


@lru_cache(maxsize=10_000)
def _read(names: tuple[str, ...], serial: str, not_after: str) -> Certificate | None:
    """Return whom these name; the same object for all tunnels of a machine."""
    if _SERIAL.match(serial) is None or (match := _machine_of(names)) is None:
        return None
    expires = datetime.fromtimestamp(cert_time_to_seconds(not_after), UTC)
    return Certificate(Identity(match["machine"], match["tenant"], serial.lower().lstrip("0")), expires)


def identify(certificate: x509.Certificate) -> Certificate | None:
    """Return whom a certificate names that was verified apart from TLS; raises x509.ExtensionNotFound."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    match = _machine_of(names.get_values_for_type(x509.UniformResourceIdentifier))
    if match is None:
        return None
    identity = Identity(match["machine"], match["tenant"], format(certificate.serial_number, "x"))
    return Certificate(identity, certificate.not_valid_after_utc)


def _machine_of(names: Sequence[str]) -> re.Match[str] | None:
    return _MACHINE_URI.match(names[0]) if len(names) == 1 else None
