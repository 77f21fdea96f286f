"""Host names and targets, normalised once at the edge into types that can't be wrong.

Peers' bytes come through `parse_authority`; what people write in flags and files through `parse_host`.
Both refuse every spelling that two parsers could read differently (decimal and octal IPv4, zone ids,
user-info, percent escapes, doubled dots): what was checked must be what is dialled.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NewType

import idna

from arcgate.core.errors import InputError

HostName = NewType("HostName", str)
"""A DNS name: lower case, A-labels, no trailing dot, at most 253 characters."""

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# A name whose last label is a number in any notation would be read as IPv4 by inet_aton and browsers
# (WHATWG URL, "ends in a number"); only the dotted quad is let through, as an address.
_ENDS_IN_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_DOTTED_QUAD = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}\Z")
_AUTHORITY = re.compile(
    rb"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9._-]{1,255})):(?P<port>[1-9][0-9]{0,4})\Z"
)

LONGEST_NAME = 253
"""Characters of a DNS name without its trailing dot (RFC 1035 section 2.3.4)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tunnel leads: a normalised host (name or address) and a port (1 to 65535)."""

    host: HostName | IPv4Address | IPv6Address
    port: int

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address and not a name."""
        return not isinstance(self.host, str)

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets (RFC 3986 section 3.2)."""
        return f"[{self.host}]:{self.port}" if isinstance(self.host, IPv6Address) else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.authority


def parse_host(text: str) -> HostName | IPv4Address | IPv6Address:
    """Return the host that `text` spells, a name in A-labels or an address.

    IPv6 may stand in brackets. Raises InputError with code HOST_INVALID.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        return _parse_ipv6(bare, text)
    if bare != text:
        raise _invalid(text, "only IPv6 addresses stand in brackets")
    name = text.lower() if text.isascii() else _to_ascii(text)
    return _parse_ascii_host(name, text)


def parse_host_name(text: str) -> HostName:
    """Return the DNS name that `text` spells; raises InputError (HOST_INVALID) for addresses too."""
    host = parse_host(text)
    if not isinstance(host, str):
        raise _invalid(text, "a name is needed here, not an address")
    return host


def parse_authority(authority: bytes) -> Target:
    """Return the target of a CONNECT request line (RFC 9110 section 9.3.6: host and port, both).

    Raises InputError with code TARGET_MALFORMED.
    """
    match = _AUTHORITY.match(authority)
    if match is None:
        raise _malformed(authority, "it must be host:port")
    port = int(match["port"])  # at most five ASCII digits, see the pattern
    if port > 65535:
        raise _malformed(authority, "a port is at most 65535")
    try:
        if match["v6"] is not None:
            text = match["v6"].decode("ascii")
            return Target(_parse_ipv6(text, text), port)
        text = match["host"].decode("ascii")
        return Target(_parse_ascii_host(text.lower(), text), port)
    except InputError as error:
        raise _malformed(authority, error.cause) from None


def parse_target(text: str, default_port: int | None = None) -> Target:
    """Return the target that a person wrote as HOST:PORT (or HOST, when a default port is given).

    Raises InputError with code TARGET_MALFORMED or HOST_INVALID.
    """
    try:
        encoded = text.encode("ascii")
    except UnicodeEncodeError:
        name, separator, port = text.rpartition(":")
        if separator and port.isascii() and port.isdigit():
            return parse_target(f"{_to_ascii(name)}:{port}")
        encoded = _to_ascii(text).encode("ascii")
    if default_port is not None and _AUTHORITY.match(encoded) is None:
        return Target(parse_host(encoded.decode("ascii")), default_port)
    return parse_authority(encoded)


def _parse_ascii_host(name: str, given: str) -> HostName | IPv4Address:
    name = name.removesuffix(".")
    if _DOTTED_QUAD.match(name):
        if given.endswith("."):
            raise _invalid(given, "an address has no trailing dot")
        return IPv4Address(name)
    labels = name.split(".")
    if not name or len(name) > LONGEST_NAME:
        raise _invalid(given, f"a name has 1 to {LONGEST_NAME} characters")
    if not all(_LABEL.match(label) for label in labels):
        raise _invalid(given, "each label has 1 to 63 letters, digits, hyphens or underscores")
    if _ENDS_IN_NUMBER.match(labels[-1]):
        raise _invalid(given, "an IPv4 address is written as four decimal numbers without leading zeros")
    return HostName(name)


def _parse_ipv6(text: str, given: str) -> IPv6Address:
    if "%" in text:
        raise _invalid(given, "an address with a zone is only good on its own link")
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise _invalid(given, "it is not an IPv6 address") from None


def _to_ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise _invalid(text, f"it is not an internationalised name: {error}") from None


def _invalid(given: str, cause: str) -> InputError:
    return InputError(
        "HOST_INVALID",
        f"{given!r} is not a host name or address.",
        cause=cause,
        remedy="Write a DNS name or a plain IP address.",
    )


def _malformed(authority: bytes, cause: str) -> InputError:
    shown = ascii(authority[:80].decode("latin-1"))
    return InputError(
        "TARGET_MALFORMED",
        f"{shown} is not a target.",
        cause=cause,
        remedy="Write HOST:PORT, for example management.example.com:443, an IPv6 address in brackets.",
    )
