"""Bytes that look like TLS 1.3 on the wire, so that tunnels are treated as the real thing without its cost.

A real session would spend most of the processors in the endpoints' own cryptography.
"""

RECORD = 16_384
"""Payload bytes of one record."""


def _handshake(kind: int, body: bytes) -> bytes:
    message = bytes((kind,)) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def application_data(payload: bytes) -> bytes:
    """Return one record of application data."""
    return b"\x17\x03\x03" + len(payload).to_bytes(2, "big") + payload


CLIENT_HELLO = _handshake(1, b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + b"\x00\x00")
_VERSIONS = b"\x00\x2b\x00\x02\x03\x04"
SERVER_HELLO = _handshake(
    2, b"\x03\x03" + bytes(32) + b"\x00" + b"\x13\x01" + b"\x00" + len(_VERSIONS).to_bytes(2, "big") + _VERSIONS
)
PIECE = application_data(bytes(RECORD)) * 64
"""About 1 MiB of whole records."""
