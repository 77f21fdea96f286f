"""An ASGI application behind real TLS on a free port of loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from arcgate.net.tasks import spawn
from arcgate.net.tls import server_context


def free_socket() -> socket.socket:
    """Return a listening-to-be socket on a free port of 127.0.0.1."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return listening


@asynccontextmanager
async def served(app: ASGIApp, listening: socket.socket, chain: Path, key: Path) -> AsyncIterator[None]:
    """Serve the application on the socket until the block ends."""
    configuration = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
    configuration.load()
    configuration.ssl = server_context(chain, key)
    server = uvicorn.Server(configuration)
    task = spawn("test server", server._serve([listening]))
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 - uvicorn announces nothing else
                await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task
