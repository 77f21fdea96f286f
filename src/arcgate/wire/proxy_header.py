"""The PROXY protocol's header, version 2: whose connection it is that somebody passes on.

Only as much of it as our front door sends to our own control plane; everything else is refused.
"""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from arcgate.core.names import Address

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_FAMILIES = {0x11: (12, 4), 0x21: (36, 16)}
"""TCP over IPv4 and IPv6: bytes behind the first part, and of one address."""
_FIRST = struct.Struct("!12sBBH")


class ProxyHeaderError(Exception):
    """The bytes are no header of our front door's."""


class ProxyHeaderReader:
    """Reads a header from pieces of any size; `missing` are the bytes that are surely its own and have not come yet."""

    def __init__(self) -> None:
        self._bytes = b""
        self.missing = _FIRST.size

    def feed(self, data: bytes) -> Address | None:
        """Take at most `missing` bytes; return the source address once the header is complete.

        Raises ProxyHeaderError.
        """
        if len(data) > self.missing:
            raise ProxyHeaderError("it goes on behind its end")
        self._bytes += data
        self.missing -= len(data)
        if self.missing:
            return None
        size, width = _read_first(self._bytes[: _FIRST.size])
        self.missing = _FIRST.size + size - len(self._bytes)
        if self.missing:
            return None
        source = self._bytes[_FIRST.size : _FIRST.size + width]
        return IPv4Address(source) if width == 4 else IPv6Address(source)


def _read_first(part: bytes) -> tuple[int, int]:
    signature, command, family, size = _FIRST.unpack(part)
    if signature != _SIGNATURE or command != _VERSION_2_PROXY:
        raise ProxyHeaderError("it does not begin as one")
    if family not in _FAMILIES or size != _FAMILIES[family][0]:
        raise ProxyHeaderError("its addresses are not those of TCP")
    return _FAMILIES[family]


def format_proxy_header(source: str) -> bytes:
    """Return the header for a connection from this address (a zone of IPv6 is left out); raises ValueError for others.

    Ports, and the address that it came to, are 0: nobody asks for them.
    """
    address = ip_address(source.partition("%")[0])
    family = 0x11 if address.version == 4 else 0x21
    size, width = _FAMILIES[family]
    return _FIRST.pack(_SIGNATURE, _VERSION_2_PROXY, family, size) + address.packed + bytes(size - width)
