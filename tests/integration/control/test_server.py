"""The HTTP server itself: what happens to clients that are slow or odd."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from arcgate.control import front_connections
from arcgate.control import server as server_module
from arcgate.control.paths import CanonicalPaths
from arcgate.control.server import make_server
from arcgate.net.local_sockets import listen_locally
from arcgate.net.tasks import spawn
from arcgate.net.tls import server_context
from arcgate.wire.proxy_header import format_proxy_header
from worlds.authority import Authority
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@dataclass
class Served:
    port: int
    trust: ssl.SSLContext
    front: Path

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.trust.wrap_socket(plain, server_hostname="localhost")


@pytest.fixture
async def served(authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Served]:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT", 0.3)
    monkeypatch.setattr(front_connections, "HEADER_TIMEOUT", 0.3)

    async def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def whence(request: Request) -> PlainTextResponse:
        assert request.client is not None
        return PlainTextResponse(f"from {request.client.host}.")

    chain, key = authority.issue("localhost")
    tls = server_context(chain, key)
    ready = asyncio.Event()
    stopped = threading.Event()
    routes = [Route("/", hello), Route("/whence", whence)]
    front = tmp_path / "front.sock"
    server = make_server(CanonicalPaths(Starlette(routes=routes)), tls, ready.set, stopped.set, [listen_locally(front)])
    listener = socket.create_server(("127.0.0.1", 0))
    task = spawn("server", server.serve(sockets=[listener]))
    await ready.wait()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=authority.pem)
    yield Served(listener.getsockname()[1], trust, front)
    server.stop()
    await task
    assert stopped.is_set()


def _is_cut(client: ssl.SSLSocket) -> bool:
    try:
        return client.recv(1000) == b""
    except (ConnectionResetError, ssl.SSLError):
        return True


def _silent(served: Served) -> bool:
    with served.connect() as client:
        return _is_cut(client)


def _half_a_head(served: Served) -> bool:
    with served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        return _is_cut(client)


def _half_a_second_head(served: Served) -> bool:
    with served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"hello" not in received:
            received += client.recv(1000)
        client.sendall(b"GET / HT")
        return _is_cut(client)


@pytest.mark.parametrize("behaviour", [_silent, _half_a_head, _half_a_second_head])
async def test_a_client_that_sends_no_whole_head_is_cut(served: Served, behaviour: Callable[[Served], bool]) -> None:
    assert await asyncio.to_thread(behaviour, served)


def _talk(served: Served, request: bytes) -> bytes:
    with served.connect() as client:
        client.sendall(request)
        received = b""
        while piece := client.recv(1000):
            received += piece
        return received


async def test_an_answer_names_no_server_software(served: Served) -> None:
    answer = await asyncio.to_thread(_talk, served, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"uvicorn" not in answer.lower()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused_and_cut(served: Served, request_: bytes) -> None:
    try:
        answer = await asyncio.to_thread(_talk, served, request_)
    except ConnectionError:
        return
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert b"hello" not in answer


def _pass_on(served: Served, *pieces: bytes) -> bytes:
    """Return the answer to a connection that begins with these pieces, b"" when it was closed."""
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(20)
    plain.connect(str(served.front))
    try:
        for piece in pieces:
            plain.sendall(piece)
        with served.trust.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET /whence HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b""
            while piece := client.recv(1000):
                received += piece
            return received
    except (ssl.SSLError, OSError):
        return b""
    finally:
        plain.close()


@pytest.mark.parametrize("source", ["192.0.2.7", "2001:db8::7"])
async def test_what_the_front_door_passes_on_comes_from_its_clients_address(served: Served, source: str) -> None:
    header = format_proxy_header(source)
    for pieces in ([header], [header[:9], header[9:16], header[16:]]):
        assert f"from {source}.".encode() in await asyncio.to_thread(_pass_on, served, *pieces)


async def test_nobody_else_may_name_an_address(served: Served) -> None:
    def by_the_open_port() -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain:
            plain.sendall(format_proxy_header("192.0.2.7"))
            with contextlib.suppress(OSError), served.trust.wrap_socket(plain, server_hostname="localhost") as client:
                return client.recv(1000)
            return b""

    assert await asyncio.to_thread(by_the_open_port) == b""
    request = b"GET /whence HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
    assert b"from 127.0.0.1." in await asyncio.to_thread(_talk, served, request)


def _only_begin(served: Served, begin: bytes) -> bytes:
    """Return what comes to a connection that begins so, and then waits."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(20)
        plain.connect(str(served.front))
        plain.sendall(begin)
        with contextlib.suppress(ConnectionResetError):  # closed with bytes unread
            return plain.recv(1000)
        return b""


@pytest.mark.parametrize(
    "begin", [b"", format_proxy_header("192.0.2.7")[:-1], b"PROXY TCP4 192.0.2.7 0.0.0.0 1 1\r\n", b"\x16\x03\x01" * 9]
)
async def test_a_connection_that_does_not_say_whose_it_is_is_closed(served: Served, begin: bytes) -> None:
    with capture_logs() as logs:
        assert await asyncio.to_thread(_only_begin, served, begin) == b""
        await until(lambda: len(logs) == 1)
    assert b"from 192.0.2.7." in await asyncio.to_thread(_pass_on, served, format_proxy_header("192.0.2.7"))
