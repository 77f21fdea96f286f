"""Stand-in of a service by WebSocket: it sends messages back and answers pings, for as long as the client likes."""

import base64
import hashlib
import struct
from io import BufferedIOBase

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def accept_of(key: str) -> str:
    """Return what the answer to the key of an opening handshake must be (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def serve(incoming: BufferedIOBase, outgoing: BufferedIOBase) -> dict[str, int]:
    """Echo until the client ends it; return how many messages and pings there were."""
    counts = {"messages": 0, "pings": 0}
    while (frame := _read(incoming)) is not None:
        kind, payload = frame
        if kind == CLOSE:
            _write(outgoing, CLOSE, payload)
            break
        counts["pings" if kind == PING else "messages"] += 1
        _write(outgoing, PONG if kind == PING else kind, payload)
    return counts


def _read(incoming: BufferedIOBase) -> tuple[int, bytes] | None:
    """Read a frame of a client, which is masked and, here, shorter than 64 KiB; None at the end."""
    head = incoming.read(2)
    if len(head) < 2:
        return None
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", incoming.read(2))
    mask = incoming.read(4)
    payload = incoming.read(length)
    return head[0] & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _write(outgoing: BufferedIOBase, kind: int, payload: bytes) -> None:
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    outgoing.write(bytes([0x80 | kind]) + length + payload)
    outgoing.flush()
