"""A small HTTP/1.1 client over any ByteStream: one request per connection, bounded, h11 for the protocol.

Agent, gateway node and operator command use it, each with its own way to open the stream: that is where
proxies and gateways come in, and why no off-the-shelf client fits.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h11

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target
from arcgate.core.urls import Url, parse_url
from arcgate.net.dialer import start_tls
from arcgate.net.streams import ByteStream, StreamReset

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer's body, unless the caller sets its own bound."""

OpenStream = Callable[[Target], Awaitable[ByteStream]]
"""Opens a plain byte stream to a target, by whatever way; raises HopError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body as JSON; None when it is empty or no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class HttpClient:
    """Sends requests to https (and http) URLs; `context` verifies the servers."""

    open_stream: OpenStream
    context: ssl.SSLContext
    user_agent: str = "arcgate"

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 30,
        largest_answer: int = LARGEST_ANSWER,
    ) -> Answer:
        """Return the answer to one request. `timeout` (seconds) covers all of it; raises HopError."""
        parsed = parse_url(url)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, parsed, headers or {}, body, timeout, largest_answer)
        except TimeoutError:
            raise _failed(parsed, f"no complete answer in {timeout:g} s", "HTTP_TIMEOUT") from None

    async def request_json(
        self,
        method: str,
        url: str,
        document: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send a document as JSON (none: no body) and return the answer; see `request`."""
        body = b"" if document is None else json.dumps(document).encode()
        kind = {} if document is None else {"Content-Type": "application/json"}
        return await self.request(
            method, url, headers={"Accept": "application/json", **kind, **(headers or {})}, body=body, timeout=timeout
        )

    async def _exchange(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes, timeout: float, largest: int
    ) -> Answer:
        stream = await self.open_stream(url.target)
        try:
            if url.is_tls:
                stream = await start_tls(stream, self.context, str(url.target.host), timeout)
            return await self._speak(stream, method, url, headers, body, largest)
        except (StreamReset, h11.ProtocolError) as error:
            raise _failed(url, str(error), "HTTP_FAILED") from None
        finally:
            await stream.close()

    async def _speak(
        self, stream: ByteStream, method: str, url: Url, headers: Mapping[str, str], body: bytes, largest: int
    ) -> Answer:
        connection = h11.Connection(h11.CLIENT)
        fields = [
            ("Host", _host_field(url)),
            ("User-Agent", self.user_agent),
            ("Connection", "close"),
            *headers.items(),
        ]
        if body or method in {"POST", "PUT", "PATCH"}:
            fields.append(("Content-Length", str(len(body))))
        head = connection.send(h11.Request(method=method, target=url.path, headers=fields)) or b""
        data = connection.send(h11.Data(data=body)) or b"" if body else b""
        await stream.send(head + data + (connection.send(h11.EndOfMessage()) or b""))
        return await _read_answer(connection, stream, url, largest)


async def _read_answer(connection: h11.Connection, stream: ByteStream, url: Url, largest: int) -> Answer:
    response: h11.Response | None = None
    pieces: list[bytes] = []
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > largest:
                raise _failed(url, f"the answer has more than {largest} bytes", "HTTP_ANSWER_TOO_LARGE")
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
            return Answer(response.status_code, headers, b"".join(pieces))
        elif not isinstance(event, h11.InformationalResponse):
            raise StreamReset("the connection was closed before the answer was complete")


def _host_field(url: Url) -> str:
    usual = 443 if url.is_tls else 80
    authority = url.target.authority
    return authority.removesuffix(f":{usual}") if url.target.port == usual else authority


def _failed(url: Url, cause: str, code: str) -> HopError:
    return HopError(
        Hop.TARGET,
        code,
        f"{url.origin} did not answer properly.",
        cause=cause,
        remedy="Check that the service behind this name is running, and what stands in between.",
    )
