"""The ClientHello of a TLS connection, read without decrypting: the server name that it asks for.

Used by the front end to route by name before any TLS state exists (RFC 8446 section 4.1.2, RFC 6066 section 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from arcgate.core.errors import InputError
from arcgate.core.names import HostName, parse_host_name

LARGEST_HELLO = 64 * 1024
"""Bytes of a ClientHello that we read; post-quantum key shares make about 2 KiB, nobody sends 64."""

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME, _PROTOCOLS = 22, 1, 0, 0, 16


class HelloError(Exception):
    """The bytes are not a TLS ClientHello, or one that contradicts itself."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the front end wants to know of a ClientHello; no name when the client sent none."""

    server_name: HostName | None
    message: bytes = field(default=b"", repr=False, compare=False)

    @property
    def protocols(self) -> tuple[bytes, ...]:
        """What is offered by ALPN (RFC 7301), which few ask for; raises HelloError."""
        body = next((body for kind, body in _extensions(_Cursor(self.message)) if kind == _PROTOCOLS), None)
        if body is None:
            return ()
        names, found = _Cursor(_Cursor(body).vector(2)), []
        while not names.at_end:
            found.append(names.vector(1))
        return tuple(found)


class ClientHelloReader:
    """Collects TLS records until the ClientHello is complete; `consumed` holds all bytes that were fed."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._message = bytearray()
        self._position = 0
        self._left_in_record = 0

    @property
    def consumed(self) -> bytes:
        """All bytes that were fed."""
        return bytes(self._bytes)

    def feed(self, data: bytes) -> ClientHello | None:
        """Take more bytes; return the ClientHello once it is complete. Raises HelloError."""
        self._bytes += data
        # What follows the ClientHello (early data) is not ours to look at.
        while (length := self._length()) is None or len(self._message) < length:
            if self._position == len(self._bytes) or not (self._left_in_record or self._begin_record()):
                return None
            self._read_record()
        message = bytes(self._message[4:length])
        return ClientHello(_server_name(message), message)

    def _length(self) -> int | None:
        """Return the length of the whole message; None while its header hasn't come. Raises HelloError."""
        if len(self._message) < 4:
            return None
        if self._message[0] != _CLIENT_HELLO:
            raise HelloError("the first handshake message is no ClientHello")
        length = int.from_bytes(self._message[1:4], "big")
        if length > LARGEST_HELLO:
            raise HelloError("the ClientHello is too large")
        return 4 + length

    def _read_record(self) -> None:
        """Take what has come of the current record."""
        piece = self._bytes[self._position : self._position + self._left_in_record]
        self._message += piece
        self._position += len(piece)
        self._left_in_record -= len(piece)

    def _begin_record(self) -> bool:
        header = self._bytes[self._position : self._position + 5]
        # 22 = handshake; legacy record versions 3.1 to 3.3 are all in use (RFC 8446 section 5.1).
        if header[0] != _HANDSHAKE or (len(header) > 1 and header[1] != 3):
            raise HelloError("this is not a TLS handshake")
        if len(header) < 5:
            return False
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= 16_384:
            raise HelloError("a TLS record has an impossible length")
        self._position += 5
        self._left_in_record = length
        return True


class _Cursor:
    """Reads length-prefixed vectors; every length is checked against what is there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._position : self._position + count]
        if len(piece) < count:
            raise HelloError("a length points behind the end")
        self._position += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def at_end(self) -> bool:
        return self._position == len(self._data)


def _server_name(message: bytes) -> HostName | None:
    for kind, body in _extensions(_Cursor(message)):
        if kind == _SERVER_NAME:
            return _first_host_name(_Cursor(_Cursor(body).vector(2)))
    return None


def _extensions(hello: _Cursor) -> Iterator[tuple[int, bytes]]:
    hello.take(2 + 32)  # legacy_version, random
    hello.vector(1)  # legacy_session_id
    hello.vector(2)  # cipher_suites
    hello.vector(1)  # legacy_compression_methods
    if hello.at_end:
        return
    extensions = _Cursor(hello.vector(2))
    while not extensions.at_end:
        kind = extensions.number(2)
        yield kind, extensions.vector(2)


def _first_host_name(names: _Cursor) -> HostName | None:
    while not names.at_end:
        kind = names.number(1)
        name = names.vector(2)
        if kind == _HOST_NAME:
            try:
                return parse_host_name(name.decode("ascii"))
            except (UnicodeDecodeError, InputError):
                raise HelloError("the server name is not a host name") from None
    return None


UNRECOGNIZED_NAME_ALERT = bytes.fromhex("15030300020270")
"""A fatal TLS alert, unrecognized_name (RFC 6066 section 3): what a client sees that asks for an unknown name."""
