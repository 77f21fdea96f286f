"""An enterprise proxy that does what the test says, good or bad."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arcgate.net.dialer import dial
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import PrefixedStream, SocketStream, StreamReset, close_gently
from arcgate.wire.connect import parse_connect
from arcgate.wire.heads import RequestHead, RequestReader
from worlds.fake_gateway import LOOPBACK, carry

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
WANTS_BASIC = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="the, proxy"\r\n'
    b"Content-Length: 0\r\n\r\n"
)


@dataclass
class FakeProxy:
    """Listens on loopback; `answer` is what CONNECT gets before the tunnel, and no tunnel if it is no 2xx."""

    ports: dict[str, int] = field(default_factory=dict)
    """Local ports of targets; others are dialled as they are written, on 127.0.0.1."""
    answer: bytes = ESTABLISHED
    is_silent: bool = False
    wants: str = ""
    """Value of Proxy-Authorization without which it answers 407."""
    heads: list[RequestHead] = field(default_factory=list)
    port: int = 0
    _listener: Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listening = listen("127.0.0.1", self.port)
        self.port = listening.getsockname()[1]
        self._listener = Listener([listening], self._handle)
        self._listener.start()

    async def kill(self) -> None:
        if self._listener is not None:
            await self._listener.stop(0)
            self._listener = None

    async def _handle(self, client: SocketStream) -> None:
        try:
            await self._serve(client)
        except (StreamReset, asyncio.CancelledError):
            client.abort()

    async def _serve(self, client: SocketStream) -> None:
        reader = RequestReader()
        head = None
        while head is None:
            data = await client.receive()
            if not data:
                return
            head = reader.feed(data)
        self.heads.append(head)
        if self.is_silent:
            await asyncio.Event().wait()
        if self.wants and head.all("proxy-authorization") != [self.wants]:
            await client.send(WANTS_BASIC)
            await close_gently(client)
            return
        if head.method != "CONNECT" or b" 200" not in self.answer.rpartition(b"HTTP/1.")[2][:5]:
            await client.send(self.answer)
            await close_gently(client)
            return
        request = parse_connect(head)
        port = self.ports.get(request.target.authority, request.target.port)
        target = await dial([LOOPBACK], port, 5)  # type: ignore[list-item]
        await client.send(self.answer)
        await carry(PrefixedStream(reader.rest, client), target)


@asynccontextmanager
async def fake_proxy(answer: bytes = ESTABLISHED) -> AsyncIterator[FakeProxy]:
    """A running proxy."""
    proxy = FakeProxy(answer=answer)
    proxy.start()
    try:
        yield proxy
    finally:
        await proxy.kill()
