"""Links between the workers of one host: Unix sockets in a folder that is theirs alone.

A link begins with one line of JSON that says what it is for. Frames follow in both directions, since a Unix socket
doesn't let its peer tell a cut from an end: what ends without FIN was cut.
"""

import json
from collections import deque
from pathlib import Path
from typing import Any

from arcgate.core.errors import Hop, HopError
from arcgate.net.deadlines import within
from arcgate.net.local_sockets import connect_locally
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.wire.frames import FIN, LARGEST_PAYLOAD, FrameError, FrameReader, FrameType, format_data

LONGEST_PURPOSE = 16 * 1024
"""Bytes of the line that says what a link is for."""
PURPOSE_TIMEOUT = 5.0
"""Seconds for that line: it comes from a process beside us."""


class LinkStream:
    """A link as a ByteStream; `peer` is whom the other worker speaks for."""

    def __init__(self, stream: SocketStream, peer: str, rest: bytes = b"") -> None:
        self.peer = peer
        self._stream = stream
        self._frames = FrameReader()
        self._ready: deque[bytes] = deque()
        self._has_peer_ended = False
        if rest:
            self._take(rest)

    async def receive(self) -> bytes:
        """See ByteStream."""
        while not self._ready:
            if self._has_peer_ended:
                return b""
            data = await self._stream.receive()
            if not data:
                raise StreamReset("the other worker cut the link")
            self._take(data)
        return self._ready.popleft()

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        view = memoryview(data)
        for start in range(0, len(view), LARGEST_PAYLOAD):
            await self._stream.send(format_data(view[start : start + LARGEST_PAYLOAD]))

    async def end(self) -> None:
        """See ByteStream."""
        await self._stream.send(FIN)

    def abort(self) -> None:
        """See ByteStream."""
        self._stream.let_go()

    async def close(self) -> None:
        """See ByteStream."""
        self._stream.let_go()

    def _take(self, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except FrameError as error:
            raise StreamReset(f"the other worker sent no frames: {error}") from None
        for frame in frames:
            if frame.type is FrameType.DATA:
                self._ready.append(frame.payload)
            self._has_peer_ended = self._has_peer_ended or frame.type is FrameType.FIN


async def open_link(path: Path, purpose: dict[str, Any], peer: str) -> LinkStream:
    """Return a link to the worker that listens there; raises HopError (GATEWAY)."""
    try:
        connecting = connect_locally(path)
    except OSError as error:
        raise _unreachable(str(error)) from None
    stream = SocketStream(connecting, peer)
    try:
        await stream.send(json.dumps(purpose).encode("ascii") + b"\n")
    except StreamReset as error:
        stream.let_go()
        raise _unreachable(str(error)) from None
    return LinkStream(stream, peer)


async def accept_link(stream: SocketStream) -> tuple[dict[str, Any], LinkStream]:
    """Return what a link is for, and the link; raises StreamReset."""
    data = b""
    try:
        with within(PURPOSE_TIMEOUT):
            while b"\n" not in data:
                piece = await stream.receive()
                if not piece or len(data) > LONGEST_PURPOSE:
                    raise StreamReset("the other worker did not say what its link is for")
                data += piece
        line, _, rest = data.partition(b"\n")
        purpose = json.loads(line)
    except (TimeoutError, ValueError) as error:
        raise StreamReset(f"the other worker did not say what its link is for: {error}") from None
    return purpose, LinkStream(stream, str(purpose.get("peer", "")), rest)


def _unreachable(cause: str) -> HopError:
    return HopError(
        Hop.GATEWAY,
        "WORKER_UNREACHABLE",
        "Another worker of this gateway node can't be reached.",
        cause=cause,
        remedy="Retry; the supervisor starts a worker that has ended again.",
    )
