"""Connections that the front door of the same server passes on.

They come by a Unix socket, which nobody else can open, each behind a header that says from which address.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import structlog

from arcgate.net.tasks import cancel, spawn
from arcgate.wire.proxy_header import ProxyHeaderError, ProxyHeaderReader

HEADER_TIMEOUT = 5.0
"""Seconds for the header: it comes from a process beside us."""
PAUSE = 0.2
"""Seconds after which we try again to accept, where that has failed."""

Serve = Callable[[socket.socket, str], Awaitable[None]]
"""Serves a connection that was accepted, as one from this address; the socket is its own."""

_log = structlog.get_logger(__name__)


class FrontConnections:
    """Takes connections from `listening` and gives them to `serve`."""

    def __init__(self, listening: socket.socket, serve: Serve) -> None:
        self._listening = listening
        self._serve = serve
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept."""
        self._listening.setblocking(False)
        self._accepting = spawn("accept from the front door", self._accept())

    async def stop(self) -> None:
        """Accept no more; what is being served goes on."""
        if self._accepting is not None:
            await cancel(self._accepting)
        self._listening.close()
        await cancel(*self._beginning)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                _log.error("can't accept from the front door", cause=str(error))
                await asyncio.sleep(PAUSE)
                continue
            task = spawn("connection from the front door", self._begin(accepted))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            async with asyncio.timeout(HEADER_TIMEOUT):
                address = await _read_address(accepted)
        except BaseException as error:
            accepted.close()
            if not isinstance(error, OSError | EOFError | ProxyHeaderError):
                raise
            _log.warning("a connection without its address was closed", cause=str(error) or "time-out")
            return
        await self._serve(accepted, address)


async def _read_address(accepted: socket.socket) -> str:
    """Return the address in the header, and read no byte behind it; raises ProxyHeaderError, EOFError or OSError."""
    loop, reader = asyncio.get_running_loop(), ProxyHeaderReader()
    while True:
        data = await loop.sock_recv(accepted, reader.missing)
        if not data:
            raise EOFError("it ended before its header")
        if (address := reader.feed(data)) is not None:
            return str(address)
