"""uvicorn as we need it: our TLS context, a bounded wait for the first head, long polls answered at the end."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from arcgate.control.front_connections import FrontConnections

HEAD_TIMEOUT = 10.0
"""Seconds for a request head."""
IDLE_TIMEOUT = 75
"""Seconds that a connection may wait for its next request."""
SHUTDOWN_TIMEOUT = 10
"""Seconds that requests get to end when we are stopped."""
PARTING_TIME = 0.5
"""Seconds that a peer gets to answer our close_notify when we are stopped; idle ones do not read, and never would."""
LARGEST_HEAD = 64 * 1024
"""Bytes of a request head."""
MOST_REQUESTS = 20_000
"""Connections at once; each connected machine waits in one of them."""


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 that cuts a connection whose request head does not come in time once it may be expected.

    That is from the connection's start, and later from the first byte of a further head; between requests
    uvicorn's own idle time-out counts.
    """

    passed_on_from = ""
    """The address that a connection has come from which the front door has passed on."""
    _head_timer: asyncio.TimerHandle | None = None
    _is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        if self.passed_on_from:
            self.client = (self.passed_on_from, 0)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if self._is_in_request():
            self._stop_timer()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._stop_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End now, or after the answer that is under way; uvicorn calls it when it stops."""
        self._is_ending = True
        super().shutdown()
        if not self._is_in_request():
            self._part()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end; uvicorn calls it after each answer."""
        super().on_response_complete()
        if self._is_ending:
            self._part()

    def _part(self) -> None:
        self.loop.call_later(PARTING_TIME, self.transport.abort)

    def _expect_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._require_head)

    def _require_head(self) -> None:
        self._head_timer = None
        if not self._is_in_request():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_in_request(self) -> bool:
        cycle = getattr(self, "cycle", None)  # there is one from the first request on
        return cycle is not None and not cycle.response_complete


class Server(uvicorn.Server):
    """A server that says when it accepts, and lets long polls return before it waits for requests to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        fronts: Iterable[socket.socket],
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._fronts = [FrontConnections(one, self._serve_passed_on) for one in fronts]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept, then say so."""
        await super().startup(sockets=sockets)
        for front in self._fronts:
            front.start()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let waiting requests return, then end."""
        for front in self._fronts:
            await front.stop()
        self._on_stop()
        await super().shutdown(sockets=sockets)

    async def _serve_passed_on(self, accepted: socket.socket, address: str) -> None:
        protocol = BoundedProtocol(self.config, self.server_state, self.lifespan.state)
        protocol.passed_on_from = address
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # who doesn't finish the handshake, or speaks no TLS, is gone
            await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self.config.ssl)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service: uvicorn would raise SIGTERM anew after a clean end."""
        yield

    def stop(self) -> None:
        """Ask the server to end."""
        self.should_exit = True


def make_server(
    application: ASGIApp,
    tls: ssl.SSLContext,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
    fronts: Iterable[socket.socket] = (),
) -> Server:
    """Return a server for the application; run it with `serve(sockets=[…])`.

    `fronts` are Unix sockets of ours by which the front door passes connections on.
    """
    options: dict[str, Any] = {
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "off",
        "loop": "asyncio",
        "log_config": None,
        "log_level": "critical",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # our front end passes bytes on; nobody may name another address
        "timeout_keep_alive": IDLE_TIMEOUT,
        "timeout_graceful_shutdown": SHUTDOWN_TIMEOUT,
        "limit_concurrency": MOST_REQUESTS,
        "h11_max_incomplete_event_size": LARGEST_HEAD,
        "ssl_context_factory": lambda _config, _default: tls,
    }
    return Server(uvicorn.Config(application, **options), on_ready, on_stop, fronts)
