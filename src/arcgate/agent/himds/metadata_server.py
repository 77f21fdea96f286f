"""The metadata endpoint's sockets: HTTP/1.1 on the loopback addresses, one request a connection, bounded."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus

import h11
import structlog

from arcgate.agent.himds.metadata_endpoint import MetadataEndpoint
from arcgate.agent.himds.metadata_requests import Refused, Reply, read_request, refusal
from arcgate.agent.loopback import open_sockets
from arcgate.core.audit import printable
from arcgate.core.errors import StateError
from arcgate.net.listener import Listener
from arcgate.net.streams import ByteStream, SocketStream, StreamReset, close_gently

_log = structlog.get_logger(__name__)

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's head."""
HEAD_TIMEOUT = 5.0
"""Seconds for a request's head, and for taking the answer."""
MOST_CONNECTIONS = 64
"""Connections that are served at once; more get 503."""
LISTEN_RETRY = 5.0
"""Seconds until a port that another program holds is tried again."""
STOP_TIMEOUT = 0.5


class MetadataServer:
    """Listens where the settings say, as soon as it can; `monotonic` tells seconds."""

    def __init__(self, endpoint: MetadataEndpoint, monotonic: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._listener: Listener | None = None
        self._port = 0
        self._failed_port = 0
        self._next_try = 0.0

    @property
    def url(self) -> str:
        """Where programs find the endpoint; empty while it does not listen."""
        return f"http://localhost:{self._port}" if self._listener is not None else ""

    async def follow(self, port: int) -> None:
        """Listen on the port if that isn't done already; a failure is logged, and tried again later."""
        if self._listener is not None and self._port != port:
            await self.close()
        if self._listener is None and (self._failed_port != port or self._monotonic() >= self._next_try):
            self._open(port)

    async def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener.stop(STOP_TIMEOUT)

    def _open(self, port: int) -> None:
        try:
            sockets = open_sockets(port)
        except StateError as error:
            if self._failed_port != port:
                _log.error("programs of this machine get no tokens", cause=error.one_line())
            self._failed_port, self._next_try = port, self._monotonic() + LISTEN_RETRY
            return
        self._listener, self._port, self._failed_port = Listener(sockets, self._handle), port, 0
        self._listener.start()
        _log.info("the metadata endpoint listens", addresses=" ".join(self._listener.addresses))

    async def _handle(self, stream: SocketStream) -> None:
        with contextlib.suppress(StreamReset, TimeoutError):
            reply = await self._reply(stream)
            if reply is not None:
                async with asyncio.timeout(HEAD_TIMEOUT):
                    await stream.send(encode(reply))
                    await close_gently(stream)

    async def _reply(self, stream: ByteStream) -> Reply | None:
        listener = self._listener
        if listener is None or listener.open_connections > MOST_CONNECTIONS:
            return refusal(503, "temporarily_unavailable", "Too many connections.", ("Retry-After", "1"))
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                request = await _read_head(stream)
        except TimeoutError:
            return refusal(408, "invalid_request", f"The request's head took more than {HEAD_TIMEOUT:g} s.")
        except h11.RemoteProtocolError as error:
            return refusal(error.error_status_hint, "invalid_request", f"The request is no HTTP/1.1: {error}.")
        return None if request is None else await self._answer(request)

    async def _answer(self, request: h11.Request) -> Reply:
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        target = request.target.decode("latin-1")
        try:
            asked = read_request(request.method.decode("latin-1"), target, fields, self._port)
            reply = await self._endpoint.answer(asked)
        except Refused as refused:
            reply = refused.reply
        except Exception:  # a defect of ours must not leave the client without an answer
            _log.exception("a metadata request could not be answered")
            reply = refusal(500, "server_error", "himdsd could not answer; its log says why.")
        _log.info("metadata request", path=printable(target.partition("?")[0], 200), status=reply.status)
        return reply


async def _read_head(stream: ByteStream) -> h11.Request | None:
    """Return a request's head, None when the client said nothing; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await stream.receive())


def encode(reply: Reply) -> bytes:
    """Return the bytes of an answer."""
    body = json.dumps(reply.document).encode()
    connection = h11.Connection(h11.SERVER)
    fields = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *reply.headers,
    ]
    head = (
        connection.send(h11.Response(status_code=reply.status, reason=HTTPStatus(reply.status).phrase, headers=fields))
        or b""
    )
    return head + body
