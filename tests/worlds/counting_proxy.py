"""A scripted proxy that answers heads by a function, keeps its connections, and counts what it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arcgate.net.streams import ByteStream, SocketStream
from arcgate.wire.heads import RequestHead, RequestReader
from worlds.scripted import ScriptedServer, serving

Answer = Callable[[RequestHead], bytes]

ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"


def answer_407(*offers: str, more: str = "", body: bytes = b"wanted") -> bytes:
    """Return a proxy's demand for authentication."""
    offered = "".join(f"Proxy-Authenticate: {offer}\r\n" for offer in offers)
    return f"HTTP/1.1 407 Who?\r\n{offered}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class CountingProxy:
    """A proxy that runs; `heads` has all that came, `connections` counts."""

    server: ScriptedServer
    heads: list[RequestHead] = field(default_factory=list)
    connections: int = 0

    async def open(self) -> ByteStream:
        """Return a new connection to it."""
        return await self.server.connect()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def credentials(self) -> list[str]:
        """What each head said in Proxy-Authorization, empty for nothing."""
        return [",".join(head.all("proxy-authorization")) for head in self.heads]

    @property
    def tries(self) -> list[str]:
        """The credentials that were sent."""
        return [one for one in self.credentials if one]


@asynccontextmanager
async def proxy_that(answer: Answer) -> AsyncIterator[CountingProxy]:
    """A running proxy that keeps its connections until the other side closes them."""

    async def serve(stream: SocketStream) -> None:
        proxy.connections += 1
        reader = RequestReader()
        while data := await stream.receive():
            if (head := reader.feed(data)) is not None:
                proxy.heads.append(head)
                reader = RequestReader()
                await stream.send(answer(head))

    async with serving(serve) as server:
        proxy = CountingProxy(server)
        yield proxy
