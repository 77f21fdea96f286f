"""The HTTP server itself: what happens to clients that are slow or odd."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from arcgate.control import server as server_module
from arcgate.control.paths import CanonicalPaths
from arcgate.control.server import make_server
from arcgate.net.tasks import spawn
from arcgate.net.tls import server_context
from worlds.authority import Authority

pytestmark = pytest.mark.anyio


@dataclass
class Served:
    port: int
    trust: ssl.SSLContext

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return self.trust.wrap_socket(plain, server_hostname="localhost")


@pytest.fixture
async def served(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT", 0.3)

    async def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    chain, key = authority.issue("localhost")
    tls = server_context(chain, key)
    ready = asyncio.Event()
    stopped = threading.Event()
    server = make_server(CanonicalPaths(Starlette(routes=[Route("/", hello)])), tls, ready.set, stopped.set)
    listener = socket.create_server(("127.0.0.1", 0))
    task = spawn("server", server.serve(sockets=[listener]))
    await ready.wait()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=authority.pem)
    yield Served(listener.getsockname()[1], trust)
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
