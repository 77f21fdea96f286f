"""Servers that follow a script: what a proxy, a web server or a broken one would do, on a loopback port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from arcgate.net.dialer import dial
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tasks import cancel, spawn

LOOPBACK = IPv4Address("127.0.0.1")

Script = Callable[[SocketStream], Awaitable[None]]


@dataclass
class ScriptedServer:
    """A listening port, and what came in on it."""

    port: int
    received: list[bytes] = field(default_factory=list)
    """The heads that `answering` has read, one for each connection."""

    async def connect(self) -> SocketStream:
        """Return a new connection to the server."""
        return await dial([LOOPBACK], self.port, 5)


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[ScriptedServer]:
    """Run the script for each connection until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        tasks: set[asyncio.Task[None]] = set()

        async def handle(accepted: socket.socket) -> None:
            stream = SocketStream(accepted)
            try:
                with contextlib.suppress(StreamReset):
                    await script(stream)
            finally:
                await stream.close()

        async def accept() -> None:
            while True:
                accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
                tasks.add(spawn("scripted connection", handle(accepted)))

        accepting = spawn("scripted server", accept())
        try:
            yield ScriptedServer(listening.getsockname()[1])
        finally:
            await cancel(accepting)
            await cancel(*tasks)


@asynccontextmanager
async def answering(*pieces: bytes, then: str = "close", pause: bool = False) -> AsyncIterator[ScriptedServer]:
    """Read a head, send the pieces, then `close`, `hang`, `reset` or `echo`."""
    received: list[bytes] = []

    async def script(stream: SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await stream.receive()
            if not data:
                return
            head += data
        received.append(head)
        for piece in pieces:
            await stream.send(piece)
            if pause:
                await asyncio.sleep(0.005)  # so that the pieces arrive apart
        await finish(stream, then)

    async with serving(script) as server:
        server.received = received
        yield server


async def finish(stream: SocketStream, how: str) -> None:
    """End a scripted connection."""
    match how:
        case "hang":
            await asyncio.Event().wait()
        case "reset":
            stream.abort()
        case "echo":
            while data := await stream.receive():
                await stream.send(data)
        case "close":
            await stream.end()
            while await stream.receive():
                pass
        case _:
            raise ValueError(how)


def free_port() -> int:
    """Return a loopback port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Give a port whose listener takes no connection any more: further SYNs are dropped, as by a firewall."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
