"""The HTTP client against servers that behave, misbehave, or go."""

import asyncio
import itertools
import ssl
from typing import Any

import pytest

from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.names import Target
from arcgate.net.dialer import dial
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.kept_lines import KeptLines
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tls import TlsStream, client_context, server_context
from worlds.authority import Authority
from worlds.scripted import LOOPBACK, ScriptedServer, answering, free_port, serving
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return client_context(ca_pem=authority.pem)


async def open_on_loopback(target: Target) -> ByteStream:
    return await dial([LOOPBACK], target.port, 5)


def client(context: ssl.SSLContext) -> HttpClient:
    return HttpClient(open_on_loopback, context, "arcgate-test")


async def ask(
    server: ScriptedServer, context: ssl.SSLContext, method: str = "GET", path: str = "/", **options: Any
) -> Answer:
    return await client(context).request(method, f"http://a.example:{server.port}{path}", **options)


async def failure(server: ScriptedServer, context: ssl.SSLContext, **options: Any) -> HopError:
    with pytest.raises(HopError) as caught:
        await ask(server, context, **options)
    assert caught.value.hop is Hop.TARGET
    assert caught.value.cause
    assert caught.value.remedy
    return caught.value


async def test_an_answer_has_status_headers_and_body(trusting: ssl.SSLContext) -> None:
    async with answering(b"HTTP/1.1 201 Created\r\nX-One: 1\r\nContent-Length: 4\r\n\r\nbody") as server:
        answer = await ask(server, trusting, path="/a?b=c", headers={"X-Sent": "yes"})
        assert answer == Answer(201, {"x-one": "1", "content-length": "4"}, b"body")
        assert answer.is_success
        head = server.received[0]
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    for field in (f"Host: a.example:{server.port}", "User-Agent: arcgate-test", "Connection: close", "X-Sent: yes"):
        assert f"\r\n{field}\r\n".encode() in head


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: x\r\n\r\n",
            b"abcd",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than that", b"ok"),
    ],
)
async def test_every_way_to_end_a_body_is_understood_however_it_is_cut(
    trusting: ssl.SSLContext, data: bytes, body: bytes
) -> None:
    for pieces in ([data], [data[start : start + 9] for start in range(0, len(data), 9)]):
        async with answering(*pieces, pause=len(pieces) > 1) as server:
            assert (await ask(server, trusting)).body == body


async def test_a_body_is_sent_with_its_length(trusting: ssl.SSLContext) -> None:
    bodies = []

    async def script(stream: SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += await stream.receive()
        bodies.append(body)
        await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}')

    async with serving(script) as server:
        url = f"http://a.example:{server.port}/"
        answer = await client(trusting).request("POST", url, body=b"x" * 1_000_000)
        assert answer.json() == {"ok": True}
        await client(trusting).request("PUT", url)
        await client(trusting).request_json("PUT", url, {"key": "Grüße"})
    assert bodies == [b"x" * 1_000_000, b"", b'{"key": "Gr\\u00fc\\u00dfe"}']


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    assert Answer(200, {}, body).json() is None


async def test_a_400_is_an_answer_and_no_error(trusting: ssl.SSLContext) -> None:
    async with answering(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n") as server:
        answer = await ask(server, trusting)
        assert (answer.status, answer.is_success) == (400, False)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", b"HTTP/1.1 100 Continue\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"SSH-2.0-x\r\n\r\n",
     b"\x15\x03\x01\x00\x02\x02\x28",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffffff\r\n",
     b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"],
)  # fmt: skip
async def test_an_answer_that_is_cut_or_malformed_is_an_error(trusting: ssl.SSLContext, data: bytes) -> None:
    async with answering(data) as server:
        assert (await failure(server, trusting)).code == "HTTP_FAILED"


async def test_a_reset_is_an_error(trusting: ssl.SSLContext) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", then="reset") as server:
        assert (await failure(server, trusting)).code == "HTTP_FAILED"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"])
async def test_a_server_that_hangs_is_a_time_out(trusting: ssl.SSLContext, data: bytes) -> None:
    async with answering(data, then="hang") as server:
        error = await failure(server, trusting, timeout=0.2)
        assert error.code == "HTTP_TIMEOUT"
        assert "0.2 s" in error.cause


async def test_a_server_that_trickles_for_ever_is_a_time_out_too(trusting: ssl.SSLContext) -> None:
    async def script(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send(b"1\r\nx\r\n")

    async with serving(script) as server:
        assert (await failure(server, trusting, timeout=0.3)).code == "HTTP_TIMEOUT"


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001,
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"A\r\n0123456789\r\n" * 101 + b"0\r\n\r\n"],
)  # fmt: skip
async def test_a_body_above_the_callers_bound_is_an_error(trusting: ssl.SSLContext, data: bytes) -> None:
    async with answering(data) as server:
        assert (await failure(server, trusting, largest_answer=1000)).code == "HTTP_ANSWER_TOO_LARGE"
        assert len((await ask(server, trusting, largest_answer=1010)).body) >= 1001


async def test_endless_headers_are_an_error(trusting: ssl.SSLContext) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000) as server:
        assert (await failure(server, trusting)).code == "HTTP_FAILED"


@pytest.mark.parametrize("headers", [{"A": "b\r\nEvil: c"}, {"A\r\nEvil": "b"}, {"A": "b\x00"}])
async def test_a_header_that_would_break_out_of_its_line_is_not_sent(
    trusting: ssl.SSLContext, headers: dict[str, str]
) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        assert (await failure(server, trusting, headers=headers)).code == "HTTP_FAILED"
        assert server.received == []


async def test_an_early_refusal_of_a_large_body_is_still_read(trusting: ssl.SSLContext) -> None:
    """A server may answer before it has read the body, and close."""

    async def script(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await stream.end()
        while await stream.receive():
            pass

    async with serving(script) as server:
        answer = await ask(server, trusting, method="POST", body=b"x" * 20_000_000)
        assert (answer.status, answer.body) == (413, b"big")


async def test_a_service_that_does_not_run_is_named_as_such(trusting: ssl.SSLContext) -> None:
    with pytest.raises(HopError) as caught:
        await client(trusting).request("GET", f"http://a.example:{free_port()}/")
    assert caught.value.code == "TCP_REFUSED"


async def test_a_url_that_is_none_is_an_input_error(trusting: ssl.SSLContext) -> None:
    with pytest.raises(InputError):
        await client(trusting).request("GET", "ftp://a.example/")


async def test_https_verifies_the_server_by_the_urls_name(authority: Authority, trusting: ssl.SSLContext) -> None:
    async def script(stream: SocketStream) -> None:
        tls = TlsStream(stream, server_context(*authority.issue("a.example")), server_side=True)
        try:
            await tls.handshake()
        except ssl.SSLError:
            return
        await tls.receive()
        await tls.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await tls.end()
        while await stream.receive():
            pass

    async with serving(script) as server:
        answer = await client(trusting).request("GET", f"https://a.example:{server.port}/")
        assert answer.body == b"secret"
        with pytest.raises(HopError) as caught:
            await client(trusting).request("GET", f"https://b.example:{server.port}/")
        assert (caught.value.hop, caught.value.code) == (Hop.TLS, "TLS_CERTIFICATE_REFUSED")


async def test_a_body_without_length_that_is_cut_inside_tls_is_not_taken_as_whole(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    async def script(stream: SocketStream) -> None:
        tls = TlsStream(stream, server_context(*authority.issue("a.example")), server_side=True)
        await tls.handshake()
        await tls.receive()
        await tls.send(b"HTTP/1.0 200 OK\r\n\r\nhalf of")
        await stream.end()
        await stream.receive()

    async with serving(script) as server:
        with pytest.raises(HopError) as caught:
            await client(trusting).request("GET", f"https://a.example:{server.port}/")
        assert caught.value.code == "HTTP_FAILED"


async def _serve_kept(stream: ByteStream, answers: int, connections: list[int]) -> None:
    """Answer so many requests on one connection, then close it."""
    connections.append(0)
    received = b""
    while connections[-1] < answers:
        data = await stream.receive()
        if not data:
            return
        received += data
        while b"\r\n\r\n" in received and connections[-1] < answers:
            received = received.partition(b"\r\n\r\n")[2]
            connections[-1] += 1
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def test_a_client_that_keeps_connections_uses_one_for_many_requests(trusting: ssl.SSLContext) -> None:
    connections: list[int] = []
    async with serving(lambda stream: _serve_kept(stream, 100, connections)) as server:
        keeping = HttpClient(open_on_loopback, trusting, kept=KeptLines())
        for _ in range(5):
            assert (await keeping.request("GET", f"http://a.example:{server.port}/")).body == b"ok"
        await keeping.close()
    assert connections == [5]


async def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_word(trusting: ssl.SSLContext) -> None:
    connections: list[int] = []
    async with serving(lambda stream: _serve_kept(stream, 1, connections)) as server:
        keeping = HttpClient(open_on_loopback, trusting, kept=KeptLines())
        for _ in range(3):
            assert (await keeping.request("GET", f"http://a.example:{server.port}/")).body == b"ok"
        await keeping.close()
    assert connections == [1, 1, 1]


async def test_what_is_good_for_one_sending_is_made_anew_for_the_second_one(trusting: ssl.SSLContext) -> None:
    seen: list[bytes] = []

    async def cut_the_second(stream: ByteStream) -> None:
        while data := await stream.receive():
            seen.append(data.partition(b"Once: ")[2].partition(b"\r\n")[0])
            if len(seen) == 2:
                return  # as a proxy does that has waited too long for a late answer
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    numbers = itertools.count()
    async with serving(cut_the_second) as server:
        keeping = HttpClient(open_on_loopback, trusting, kept=KeptLines())
        for _ in range(2):
            await keeping.request(
                "GET", f"http://a.example:{server.port}/", headers=lambda: {"Once": str(next(numbers))}
            )
        await keeping.close()
    assert seen == [b"0", b"1", b"2"]


async def test_after_close_not_even_a_connection_in_use_is_kept(trusting: ssl.SSLContext) -> None:
    connections: list[int] = []
    async with serving(lambda stream: _serve_kept(stream, 100, connections)) as server:
        keeping = HttpClient(open_on_loopback, trusting, kept=KeptLines())
        asking = asyncio.get_running_loop().create_task(keeping.request("GET", f"http://a.example:{server.port}/"))
        await until(lambda: bool(connections))
        await keeping.close()
        assert (await asking).body == b"ok"
        assert (await keeping.request("GET", f"http://a.example:{server.port}/")).body == b"ok"
        await keeping.close()
    assert connections == [1, 1]


async def test_a_half_given_answer_on_a_kept_connection_is_not_asked_for_twice(trusting: ssl.SSLContext) -> None:
    requests = 0

    async def half(stream: ByteStream) -> None:
        nonlocal requests
        while await stream.receive():
            requests += 1
            if requests == 2:
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")
                return
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(half) as server:
        keeping = HttpClient(open_on_loopback, trusting, kept=KeptLines())
        await keeping.request("GET", f"http://a.example:{server.port}/")
        with pytest.raises(HopError):
            await keeping.request("GET", f"http://a.example:{server.port}/")
        await keeping.close()
    assert requests == 2
