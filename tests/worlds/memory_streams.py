"""Pairs of byte streams in memory: bounded, with half-close, reset and awkward chunk sizes.

What one side sends the other receives. Nothing here touches a socket, so a test sees every step of a stream
on top of it.
"""

import asyncio
from collections.abc import Callable

from arcgate.net.streams import StreamReset

Chunk = Callable[[], int]
"""Says how many bytes the next `receive` returns at most."""


def whole() -> int:
    """Return as much as there is."""
    return 1 << 30


class _Direction:
    """Bytes on their way from one side to the other."""

    def __init__(self, capacity: int, chunk: Chunk) -> None:
        self.capacity = capacity
        self.chunk = chunk
        self.buffer = bytearray()
        self.ended = False
        self.broken = ""
        self.changed = asyncio.Condition()


class MemoryStream:
    """One side of a pair; see ByteStream."""

    def __init__(self, incoming: _Direction, outgoing: _Direction, peer: str = "memory") -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._peer = peer
        self.sent = 0
        """Bytes that the buffer towards the other side has taken."""
        self.has_ended = False
        self.is_closed = False
        self.was_aborted = False

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._peer

    async def receive(self) -> bytes:
        """See ByteStream."""
        way = self._incoming
        async with way.changed:
            await way.changed.wait_for(lambda: way.buffer or way.ended or way.broken)
            if way.broken:
                raise StreamReset(way.broken)
            size = max(1, way.chunk())
            data = bytes(way.buffer[:size])
            del way.buffer[:size]
            way.changed.notify_all()
            return data

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        way = self._outgoing
        position = 0
        while position < len(data):
            async with way.changed:
                await way.changed.wait_for(lambda: len(way.buffer) < way.capacity or way.broken or way.ended)
                if way.broken or way.ended:
                    raise StreamReset(way.broken or "sent after the end")
                piece = data[position : position + way.capacity - len(way.buffer)]
                way.buffer += piece
                position += len(piece)
                self.sent += len(piece)
                way.changed.notify_all()

    async def end(self) -> None:
        """See ByteStream."""
        self.has_ended = True
        async with self._outgoing.changed:
            if self._outgoing.broken:
                raise StreamReset(self._outgoing.broken)
            self._outgoing.ended = True
            self._outgoing.changed.notify_all()

    def abort(self) -> None:
        """See ByteStream."""
        self.was_aborted = True
        self._break("reset by the peer")

    async def close(self) -> None:
        """See ByteStream; like a socket, what was sent still arrives."""
        self.is_closed = True
        async with self._outgoing.changed:
            self._outgoing.ended = True
            self._outgoing.changed.notify_all()
        async with self._incoming.changed:
            if not self._incoming.ended:
                self._incoming.broken = self._incoming.broken or "closed by the peer"
            self._incoming.changed.notify_all()

    def _break(self, why: str) -> None:
        for way in (self._incoming, self._outgoing):
            way.broken = way.broken or why
            way.buffer.clear()
            asyncio.get_running_loop().call_soon(_wake, way)


def _wake(way: _Direction) -> None:
    async def notify() -> None:
        async with way.changed:
            way.changed.notify_all()

    task = asyncio.get_running_loop().create_task(notify(), name="wake a broken stream")
    task.add_done_callback(lambda _: None)


def memory_pair(capacity: int = 64 * 1024, chunk: Chunk = whole) -> tuple[MemoryStream, MemoryStream]:
    """Return two connected streams; `capacity` is what each direction holds, `chunk` cuts what is received."""
    forth, back = _Direction(capacity, chunk), _Direction(capacity, chunk)
    return MemoryStream(back, forth), MemoryStream(forth, back)


def cycle(*sizes: int) -> Chunk:
    """Return chunk sizes in turn, again and again."""
    position = -1

    def following() -> int:
        nonlocal position
        position += 1
        return sizes[position % len(sizes)]

    return following
