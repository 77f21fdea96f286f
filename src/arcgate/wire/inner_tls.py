"""The watcher: follows the records of the TLS session inside a tunnel, without decrypting anything.

It tells when a direction may be handed over: the session is TLS 1.3 (a ServerHello says so, and it is no
HelloRetryRequest), the direction has sent a record of application_data (in TLS 1.3 everything after the
hellos is), and the position is a record boundary. It never says so for anything else: TLS 1.2, SSH, plain
text, or bytes that only begin like TLS. Source: RFC 8446 sections 4.1.3, 4.2.1 and 5.1.
"""

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_CHANGE_CIPHER_SPEC, _ALERT = 20, 21
_SERVER_HELLO = 2
_SUPPORTED_VERSIONS = 43
_TLS_1_3 = b"\x03\x04"
_LARGEST_RECORD = 16_384 + 256
_LARGEST_HELLO = 16_384
_HELLO_RETRY_REQUEST = bytes.fromhex("CF21AD74E59A6111BE1D8C021E65B891C2A211167ABB8C5E079E09E2C8A8339C")


class RecordWalk:
    """Follows the records of one direction. `boundary` counts bytes up to the last complete record."""

    __slots__ = ("_header", "_kind", "_left", "boundary", "has_application_data", "is_strange", "plain", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.boundary = 0
        self.is_strange = False
        self.has_application_data = False
        self.plain = b""
        """Handshake bytes of the records before the first protected one, bounded."""
        self._header = b""
        self._left = 0
        self._kind = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the direction."""
        position, size = 0, len(data)
        start = self.seen
        self.seen += size
        while position < size and not self.is_strange:
            if self._left == 0:
                position += self._take_header(data, position)
                continue
            step = min(self._left, size - position)
            if self._kind == _HANDSHAKE and len(self.plain) <= _LARGEST_HELLO:
                self.plain += data[position : position + step]
            position += step
            self._left -= step
            if self._left == 0:
                self.boundary = start + position
                self.has_application_data |= self._kind == _APPLICATION_DATA

    def _take_header(self, data: bytes, position: int) -> int:
        piece = data[position : position + 5 - len(self._header)]
        self._header += piece
        if len(self._header) == 5:
            kind, major = self._header[0], self._header[1]
            length = int.from_bytes(self._header[3:], "big")
            known = kind in {_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA}
            self.is_strange = not known or major != 3 or not 0 < length <= _LARGEST_RECORD
            self._kind, self._left, self._header = kind, length, b""
        return len(piece)


class InnerTls:
    """Watches both directions of one tunnel."""

    __slots__ = ("_is_tls_1_3", "from_client", "from_server")

    def __init__(self) -> None:
        self.from_client = RecordWalk()
        self.from_server = RecordWalk()
        self._is_tls_1_3: bool | None = None

    def hand_over_at(self, walk: RecordWalk, piece: int) -> int | None:
        """Return after how many of the last `piece` bytes the direction may go on raw; None when it may not.

        The place is a record boundary. Both directions must have sent application_data: then both sides have
        seen the ServerHello, and the certificates have passed inside the outer TLS.
        """
        offset = walk.boundary - (walk.seen - piece)
        is_ready = self.from_client.has_application_data and self.from_server.has_application_data
        if offset < 0 or not is_ready or self.is_hopeless or not self._knows_tls_1_3():
            return None
        return offset

    @property
    def is_hopeless(self) -> bool:
        """Whether this tunnel can never be handed over, so that watching it is a waste."""
        return self.from_client.is_strange or self.from_server.is_strange or self._is_tls_1_3 is False

    def _knows_tls_1_3(self) -> bool:
        if self._is_tls_1_3 is None:
            self._is_tls_1_3 = _negotiated_tls_1_3(self.from_server.plain)
            self.from_client.plain = self.from_server.plain = b""
        return self._is_tls_1_3


def _negotiated_tls_1_3(messages: bytes) -> bool:
    """Say whether the server's plain handshake messages hold a ServerHello that chooses TLS 1.3."""
    position = 0
    while position + 4 <= len(messages):
        kind, length = messages[position], int.from_bytes(messages[position + 1 : position + 4], "big")
        body = messages[position + 4 : position + 4 + length]
        if len(body) < length:
            return False
        if kind == _SERVER_HELLO and body[2:34] != _HELLO_RETRY_REQUEST:
            return _chosen_version(body) == _TLS_1_3
        if kind != _SERVER_HELLO:
            return False
        position += 4 + length
    return False


def _chosen_version(hello: bytes) -> bytes:
    """Return the version of a ServerHello's supported_versions extension, empty without one."""
    position = 34
    position += 1 + hello[position] if len(hello) > position else 1  # legacy_session_id_echo
    position += 3  # cipher_suite, legacy_compression_method
    extensions = hello[position + 2 : position + 2 + int.from_bytes(hello[position : position + 2], "big")]
    position = 0
    while position + 4 <= len(extensions):
        kind = int.from_bytes(extensions[position : position + 2], "big")
        length = int.from_bytes(extensions[position + 2 : position + 4], "big")
        if kind == _SUPPORTED_VERSIONS:
            return extensions[position + 4 : position + 4 + length]
        position += 4 + length
    return b""
