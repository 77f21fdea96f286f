"""Somebody in the middle who opens TLS with certificates of his own, and does with what passes as the test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from arcgate.core.names import parse_host
from arcgate.net.dialer import dial
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream, SocketStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.messages import MessageCodec
from worlds.authority import Authority

Change = Callable[[bytes], bytes]


@dataclass
class InspectingMiddle:
    """Stands in front of `port`. `up` and `down` change what passes; `seen` is what clients have sent in the clear."""

    authority: Authority
    trusted: Authority
    port: int
    name: str
    up: Change = lambda data: data
    down: Change = lambda data: data
    is_off: bool = False
    """Whether bytes pass as they are, TLS unopened."""
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0

    async def handle(self, client: SocketStream) -> None:
        self.connections += 1
        far = await dial([parse_host("127.0.0.1")], self.port, 5)  # type: ignore[list-item]
        near: ByteStream = client
        server: ByteStream = far
        try:
            if not self.is_off:
                near, server = await self._open(client, far)
            await _both(self._carry(near, server, self._look), self._carry(server, near, self.down))
        except (ssl.SSLError, StreamReset):
            client.abort()
        finally:
            await far.close()

    async def _open(self, client: SocketStream, far: SocketStream) -> tuple[TlsStream, TlsStream]:
        chain, key = self.authority.issue(self.name)
        near = TlsStream(client, server_context(chain, key), server_side=True)
        await near.handshake()
        context = ssl.create_default_context(cadata=self.trusted.pem)  # noqa: TID251 - a client of the test's
        server = TlsStream(far, context, server_side=False, server_hostname=self.name)
        await server.handshake()
        return near, server

    def _look(self, data: bytes) -> bytes:
        self.seen += data
        return self.up(data)

    @staticmethod
    async def _carry(source: ByteStream, sink: ByteStream, change: Change) -> None:
        try:
            while data := await source.receive():
                await sink.send(change(data))
            await sink.end()
        except StreamReset:  # what broke on one side breaks on the other
            sink.abort()


class Rewriter:
    """Opens the messages of clients too, and sends on what `change` makes of their bytes."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._near = MessageCodec(is_client=False)
        self._far = MessageCodec(is_client=True)

    def __call__(self, data: bytes) -> bytes:
        if data.startswith(b"GET "):
            return data
        return b"".join(self._far.format(self._change(piece)) for piece in self._near.feed(data))


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    tasks = [spawn("middle", way) for way in ways]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancel(*tasks)


@asynccontextmanager
async def inspecting_middle(
    authority: Authority, trusted: Authority, port: int, name: str
) -> AsyncIterator[tuple[InspectingMiddle, int]]:
    """Run one in front of a port of 127.0.0.1; gives it and its own port."""
    middle = InspectingMiddle(authority, trusted, port, name)
    listening = listen("127.0.0.1", 0)
    listener = Listener([listening], middle.handle)
    listener.start()
    try:
        yield middle, int(listening.getsockname()[1])
    finally:
        await listener.stop(0)
