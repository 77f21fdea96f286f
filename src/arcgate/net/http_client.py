"""A small HTTP/1.1 client over any ByteStream: bounded, h11 for the protocol, connections kept where it is asked to.

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
from arcgate.net.kept_lines import KeptLines, Line
from arcgate.net.streams import ByteStream, StreamReset, close_gently

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer's body, unless the caller sets its own bound."""

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""Header fields; a function is asked each time that the request is sent, for fields that are good for one sending."""

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
    """Sends requests to https (and http) URLs; `context` verifies the servers.

    With `kept` it uses connections again, and must be closed; without, each request has its own.
    """

    open_stream: OpenStream
    context: ssl.SSLContext
    user_agent: str = "arcgate"
    kept: KeptLines | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
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
        headers: Headers | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Send a document as JSON (none: no body) and return the answer; see `request`."""
        body = b"" if document is None else json.dumps(document).encode()
        kind = {} if document is None else {"Content-Type": "application/json"}

        def all_headers() -> Mapping[str, str]:
            return {"Accept": "application/json", **kind, **current_headers(headers)}

        return await self.request(method, url, headers=all_headers, body=body, timeout=timeout)

    async def close(self) -> None:
        """Close the connections that are kept, and keep none of those in use; the client can be used again.

        Call it when the way to the servers has changed.
        """
        if self.kept is not None:
            await self.kept.close()

    def context_for(self, target: Target) -> ssl.SSLContext:
        """Return what verifies this server; raises StateError."""
        return self.context

    async def explain(self, error: HopError, target: Target) -> HopError:
        """Return the error of a handshake, with more to say of it where that is known."""
        return error

    async def _exchange(
        self, method: str, url: Url, headers: Headers, body: bytes, timeout: float, largest: int
    ) -> Answer:
        request = self._format(method, url, headers, body)
        if self.kept is not None and (line := self.kept.take(url)) is not None:
            try:
                return await self._use(line, url, request, body, largest)
            except HopError as error:
                # The server closed the connection while it was idle, as it may at any time (RFC 9112 section 9.3.1):
                # no byte of an answer has come, so the request is sent again on a fresh one.
                if line.has_answered or error.code != "HTTP_FAILED":
                    raise
                request = self._format(method, url, headers, body)
        return await self._use(await self._open(url, timeout), url, request, body, largest)

    async def _open(self, url: Url, timeout: float) -> Line:
        epoch = self.kept.epoch if self.kept is not None else 0
        stream = await self.open_stream(url.target)
        if not url.is_tls:
            return Line(stream, epoch)
        try:
            context = self.context_for(url.target)
            return Line(await start_tls(stream, context, str(url.target.host), timeout), epoch)
        except HopError as error:
            await stream.close()
            raise await self.explain(error, url.target) from None
        except BaseException:
            await stream.close()
            raise

    def _format(self, method: str, url: Url, headers: Headers, body: bytes) -> h11.Request:
        fields = [("Host", _host_field(url)), ("User-Agent", self.user_agent), *current_headers(headers).items()]
        if self.kept is None:
            fields.append(("Connection", "close"))
        if body or method in {"POST", "PUT", "PATCH"}:
            fields.append(("Content-Length", str(len(body))))
        try:
            return h11.Request(method=method, target=url.path, headers=fields)
        except h11.LocalProtocolError as error:
            raise _failed(url, str(error), "HTTP_FAILED") from None

    async def _use(self, line: Line, url: Url, request: h11.Request, body: bytes, largest: int) -> Answer:
        """Make one exchange; the connection is kept or closed afterwards."""
        try:
            answer = await _speak(line, url, request, body, largest)
        except BaseException as error:
            await line.stream.close()
            if isinstance(error, StreamReset | h11.ProtocolError):
                raise _failed(url, str(error), "HTTP_FAILED") from None
            raise
        if self.kept is None or not self.kept.keep(url, line):
            await close_gently(line.stream)
        return answer


async def _speak(line: Line, url: Url, request: h11.Request, body: bytes, largest: int) -> Answer:
    send = line.protocol.send
    head = send(request) or b""
    data = send(h11.Data(data=body)) or b"" if body else b""
    await line.stream.send(head + data + (send(h11.EndOfMessage()) or b""))
    return await _read_answer(line, url, largest)


async def _read_answer(line: Line, url: Url, largest: int) -> Answer:
    response: h11.Response | None = None
    pieces: list[bytes] = []
    size = 0
    while True:
        event = line.protocol.next_event()
        if event is h11.NEED_DATA:
            data = await line.stream.receive()
            line.has_answered = line.has_answered or bool(data)
            line.protocol.receive_data(data)
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


def current_headers(headers: Headers | None) -> Mapping[str, str]:
    """Return the fields for one sending."""
    return headers() if callable(headers) else headers or {}


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
