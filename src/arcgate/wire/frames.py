"""Frames: what a channel carries between the answer to a CONNECT and the next CONNECT on the same channel.

    type (1 byte)   length (3 bytes, big-endian)   payload
    0 DATA          1 to LARGEST_PAYLOAD           bytes of the tunnel
    1 FIN           0                              this direction has ended
    2 RESET         0 to 255                       the tunnel is cut; the payload is a reason in ASCII

Both directions end with FIN, and then the channel is free for another CONNECT. After RESET it is closed.
Negotiated by the header field FRAMES_FIELD on the CONNECT and on its 200; other clients never see a frame.
"""

from enum import IntEnum
from typing import NamedTuple

FRAMES_FIELD = "Arcgate-Frames"
FRAMES_VERSION = "1"

LARGEST_PAYLOAD = 256 * 1024
LARGEST_REASON = 255
_HEADER = 4


class FrameError(Exception):
    """The peer's bytes are no frames."""


class FrameType(IntEnum):
    """Kinds of frames."""

    DATA = 0
    FIN = 1
    RESET = 2


class Frame(NamedTuple):
    """One frame, or a part of a DATA frame: its payload is passed on as it comes."""

    type: FrameType
    payload: bytes = b""


def format_data(payload: bytes | memoryview) -> bytes:
    """Return a DATA frame; the payload has 1 to LARGEST_PAYLOAD bytes."""
    assert 0 < len(payload) <= LARGEST_PAYLOAD
    return len(payload).to_bytes(_HEADER, "big") + payload  # DATA is type 0: the length's first byte


FIN = bytes((FrameType.FIN, 0, 0, 0))


class FrameReader:
    """Takes bytes and gives frames; after FIN or RESET what follows is not its own and stays in `rest`."""

    __slots__ = ("_buffer", "_data_left", "_ended", "_position")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._data_left = 0
        self._ended = False

    @property
    def rest(self) -> bytes:
        """Bytes behind the last frame of this direction."""
        return self._buffer if self._ended else b""

    @property
    def is_between_frames(self) -> bool:
        """Whether everything that was fed has been given out as whole frames."""
        return not self._buffer and not self._data_left

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames, and parts of DATA frames, that the bytes complete; raises FrameError."""
        self._buffer += data
        frames = []
        while not self._ended and self._position < len(self._buffer) and (frame := self._next()) is not None:
            frames.append(frame)
            self._ended = frame.type is not FrameType.DATA
        # Once, and not after each frame: a peer may send very many small ones.
        self._buffer, self._position = self._buffer[self._position :], 0
        return frames

    def _next(self) -> Frame | None:
        if self._data_left:
            return Frame(FrameType.DATA, self._take_data())
        kind = self._buffer[self._position]
        if kind > FrameType.RESET:
            raise FrameError(f"unknown frame type {kind}")
        header = self._buffer[self._position : self._position + _HEADER]
        if len(header) < _HEADER:
            return None
        length = int.from_bytes(header[1:], "big")
        if kind == FrameType.DATA:
            return self._begin_data(length)
        if kind == FrameType.FIN and length == 0:
            self._position += _HEADER
            return Frame(FrameType.FIN)
        if kind == FrameType.RESET and length <= LARGEST_REASON:
            return self._take_reset(length)
        raise FrameError(f"frame type {kind} with {length} bytes")

    def _begin_data(self, length: int) -> Frame | None:
        if not 0 < length <= LARGEST_PAYLOAD:
            raise FrameError(f"a DATA frame of {length} bytes")
        self._position += _HEADER
        self._data_left = length
        payload = self._take_data()
        return Frame(FrameType.DATA, payload) if payload else None

    def _take_data(self) -> bytes:
        payload = self._buffer[self._position : self._position + self._data_left]
        self._position += len(payload)
        self._data_left -= len(payload)
        return payload

    def _take_reset(self, length: int) -> Frame | None:
        end = self._position + _HEADER + length
        if len(self._buffer) < end:
            return None
        payload = self._buffer[self._position + _HEADER : end]
        self._position = end
        return Frame(FrameType.RESET, payload)
