"""What Arc Proxy makes of malformed, oversized and slow request heads: a refusal with a status, or nothing at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worlds.agent_machine import AgentMachine, agent_machine, connect_head, error_of, read_all
from worlds.authority import Authority
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        yield one


def _connect(target: bytes) -> bytes:
    return b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"


def _fields(*fields: bytes) -> bytes:
    return b"CONNECT a.example.com:443 HTTP/1.1\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def _absolute(uri: bytes, host: bytes = b"a.example.com") -> bytes:
    return b"GET " + uri + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


HOST = b"Host: a.example.com:443"
REST = b"\r\nHost: a.example.com:443\r\n\r\n"

LINES = [
    b"CONNECT\x0ba.example.com:443 HTTP/1.1" + REST,
    b"CONNECT\ta.example.com:443 HTTP/1.1" + REST,
    b"CONNECT  a.example.com:443 HTTP/1.1" + REST,
    b"CONNECT a.example.com:443  HTTP/1.1" + REST,
    b"CONNECT a.example.com:443 HTTP/1.1 " + REST,
    b" CONNECT a.example.com:443 HTTP/1.1" + REST,
    b"\r\nCONNECT a.example.com:443 HTTP/1.1" + REST,
    b"connect a.example.com:443 HTTP/1.1" + REST,
    b"Connect a.example.com:443 HTTP/1.1" + REST,
    "CONNECT a.example.com:443 HTTP/\u0661.\u0661".encode() + REST,
    b"CONNECT a.example.com:443 HTTP/1.2" + REST,
    b"CONNECT a.example.com:443 HTTP/1.10" + REST,
    b"CONNECT a.example.com:443 HTTP/2.0" + REST,
    b"CONNECT a.example.com:443 HTTP/0.9" + REST,
    b"CONNECT a.example.com:443 http/1.1" + REST,
    b"CONNECT a.example.com:443 HTTP/1,1" + REST,
    b"CONNECT a.example.com:443" + REST,
    b"CONNECT HTTP/1.1" + REST,
    b"CONNECT a.example.com:443 HTTP/1.1\x85Host: a.example.com:443\r\n\r\n",
    b"CONNECT a.example.com:443 HTTP/1.1\rHost: a.example.com:443\r\n\r\n",
    b"CONNECT a.example.com:443\x00 HTTP/1.1" + REST,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x05\x01\x00",
    b"SSH-2.0-client\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nCONNECT a.example.com:443 HTTP/1.1" + REST,
    b"\r\n\r\n\x00\r\nQUIT\n" + b"!\x11\x00\x0c",
    b"A" * 21 + b" a HTTP/1.1" + REST,
]

AUTHORITIES = [
    b"a.example.com",
    b"a.example.com:",
    b"a.example.com:0",
    b"a.example.com:00443",
    b"a.example.com:65536",
    b"a.example.com:65979",
    b"a.example.com:4294967739",
    b"a.example.com:18446744073709552059",
    b"a.example.com:4_43",
    "a.example.com:\uff14\uff14\uff13".encode(),
    b"a.example.com:+443",
    b"a.example.com:-443",
    b"a.example.com:0x1bb",
    b"a.example.com:443:443",
    b"a.example.com:443/",
    b"https://a.example.com:443",
    b"user:password@a.example.com:443",
    b"user@a.example.com:443",
    b"a.example.com%0d%0aHost:b:443",
    b"a.example.com%2eb:443",
    b"a.example.com\x1b[31m:443",
    b"a..example.com:443",
    b".a.example.com:443",
    b"-a.example.com:443",
    b"a-.example.com:443",
    b"*.example.com:443",
    b"a" * 64 + b".example.com:443",
    b".".join([b"a" * 49] * 5) + b".toolong:443",
    b"[127.0.0.1]:443",
    b"[[::1]]:443",
    b"[::1%25lo]:443",
    b"[::1%lo]:443",
    b"::1:443",
    b"[::1:443",
    b"[::1]",
    b"[:::]:443",
    b"[1:2:3:4:5:6:7:8:9]:443",
    b"2130706433:443",
    b"0x7f000001:443",
    b"0177.0.0.1:443",
    b"127.1:443",
    b"127.0.0.1.:443",
    b"1.2.3:443",
    b"a.example.0x1:443",
    b"999.1.1.1:443",
    b"a.example.com\\b:443",
    b"a.example.com#b:443",
    b"a.example.com?b:443",
    "\uff41.example.com:443".encode(),
    "a\u3002example.com:443".encode(),
    b"xn--\xff:443",
    b":443",
    b"*",
    b"/",
]

FRAMING = [
    b"CONNECT a.example.com:443 HTTP/1.1\n" + HOST + b"\n\n",
    _fields(HOST, b"X: a\rb"),
    _fields(HOST, b"X: a\nb"),
    _fields(HOST, b"X: a\n\rb"),
    _fields(HOST, b": empty"),
    _fields(HOST, b"X : space"),
    _fields(HOST, b"X\t: tab"),
    _fields(HOST, b" folded"),
    _fields(HOST, b"X: a", b"\tfolded"),
    _fields(HOST, b"X\x00: a"),
    _fields(HOST, b"X: a\x00b"),
    _fields(HOST, b"X: \x1b[2J"),
    _fields(HOST, b"no colon"),
    _fields(HOST, "Ünicode: 1".encode()),
    _fields(HOST, b"X" * 257 + b": 1"),
]

FIELDS = [
    _fields(),
    _fields(HOST, HOST),
    _fields(b"Host: b.example.com:443"),
    _fields(b"Host: a.example.com:444"),
    _fields(b"Host: a.example.com, b.example.com"),
    _fields(b"Host:"),
    _fields(b"Host: user@a.example.com:443"),
    _fields(HOST, b"Content-Length: 5"),
    _fields(HOST, b"Content-Length: -1"),
    _fields(HOST, b"Content-Length: 0", b"Content-Length: 5"),
    _fields(HOST, b"Transfer-Encoding: chunked"),
    _fields(HOST, b"Content-Length: 0", b"Transfer-Encoding: chunked"),
]

ABSOLUTE = [
    _absolute(uri)
    for uri in (
        b"/",
        b"*",
        b"//a.example.com/",
        b"a.example.com",
        b"a.example.com:80",
        b"https://a.example.com/",
        b"HTTPS://a.example.com:443/",
        b"file:///etc/passwd",
        b"gopher://a.example.com/",
        b"ftp://a.example.com/",
        b"urn:a:b",
        b"http:a.example.com",
        b"http:/a.example.com/",
        b"http:///a.example.com/",
        b"http://",
        b"http:///",
        b"http://user:password@a.example.com/",
        b"http://a.example.com@b.example.com/",
        b"http://a.example.com\\@b.example.com/",
        b"http://a.example.com\\b/",
        b"http:\\\\a.example.com/",
        b"http://a.example.com#@b.example.com/",
        b"http://a.example.com/path#fragment",
        b"http://a.example.com:0/",
        b"http://a.example.com:65536/",
        b"http://a.example.com:80:80/",
        b"http://a.example.com:8_0/",
        b"http://[::1%25lo]/",
        b"http://[127.0.0.1]/",
        b"http://2130706433/",
        b"http://0x7f.1/",
        b"http://0177.0.0.1/",
        b"http://127.1/",
        b"http://a.example.com%2f/",
        "http://\uff41.example.com/".encode(),
        b"http://a.example.com\t/",
        b"http ://a.example.com/",
        b"ws://a.example.com/",
    )
] + [
    _absolute(b"http://a.example.com/", b"b.example.com"),
    _absolute(b"http://a.example.com/", b"a.example.com:81"),
    _absolute(b"http://a.example.com/", b"a.example.com\r\nHost: a.example.com"),
    b"GET http://a.example.com/ HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("head", [*LINES, *map(_connect, AUTHORITIES), *FRAMING, *FIELDS, *ABSOLUTE])
async def test_a_malformed_head_is_answered_400_and_the_connection_ends(machine: AgentMachine, head: bytes) -> None:
    answer = await machine.ask(head)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"Connection: close\r\n" in answer
    assert error_of(answer)["code"] == "request_malformed"
    assert error_of(answer)["detail"]
    await until(lambda: len(machine.request_lines()) == 1)
    assert all(line.isprintable() for line in machine.log_lines())


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT a.example.com:443 HTTP/1.1\r\n" + b"X: " + b"x" * 16_384 + b"\r\n\r\n",
        b"CONNECT a.example.com:443 HTTP/1.1\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
        b"CONNECT " + b"a" * 65_536 + b":443 HTTP/1.1\r\n\r\n",
        b"CONNECT " + b"a" * 1_048_576,
        b"CONNECT a.example.com:443 HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
        b"GET http://a.example.com/" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_an_oversized_head_is_answered_431(machine: AgentMachine, head: bytes) -> None:
    answer = await machine.ask(head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert error_of(answer)["code"] == "head_too_large"


async def test_a_head_without_an_end_is_cut_off_long_before_it_is_large(machine: AgentMachine) -> None:
    client = await machine.connect()
    await client.send(b"GET http://a.example.com/ HTTP/1.1\r\n")
    answer = asyncio.ensure_future(read_all(client))  # noqa: TID251 - reads beside the sending
    sent = 0
    try:
        while not answer.done() and sent < 16 * 1024 * 1024:
            await client.send(b"X: " + b"x" * 8190)
            sent += 8193
            await asyncio.sleep(0)
    except Exception:
        assert sent < 16 * 1024 * 1024
    assert (await answer).startswith(b"HTTP/1.1 431 ")
    await client.close()


@pytest.mark.parametrize("start", [b"", b"CONNECT a.example", b"CONNECT a.example.com:443 HTTP/1.1\r\nHost: a"])
async def test_a_head_that_does_not_come_to_an_end_is_answered_408(machine: AgentMachine, start: bytes) -> None:
    machine.set(arcproxy_timeout_head=1)
    client = await machine.connect()
    if start:
        await client.send(start)
    answer = await read_all(client)
    await client.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_of(answer)["code"] == "head_timeout"


async def test_a_head_byte_by_byte_is_as_good_as_one_in_a_piece(machine: AgentMachine) -> None:
    client = await machine.connect()
    for byte in connect_head("missing.example.com:443"):
        await client.send(bytes([byte]))
    answer = await read_all(client)
    await client.close()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["hop"] == "DNS"


async def test_a_head_that_is_cut_off_is_answered_400(machine: AgentMachine) -> None:
    answer = await machine.ask(b"CONNECT a.example.com:443 HTTP/1.1\r\nHo", end=True)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_connects_and_goes_leaves_no_line(machine: AgentMachine) -> None:
    client = await machine.connect()
    await client.close()
    assert machine.service is not None
    listener = machine.service.listener
    await until(lambda: listener.open_connections == 0)
    assert machine.request_lines() == []


async def test_resets_at_any_moment_of_the_head_do_no_harm(machine: AgentMachine) -> None:
    head = connect_head("missing.example.com:443")
    for length in range(0, len(head), 5):
        client = await machine.connect()
        await client.send(head[:length] or b"C")
        client.abort()
    assert (await machine.ask(head)).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "field",
    [
        "X: 1",
        "Connection: close, keep-alive",
        "Expect: 100-continue",
        "X-Client-Cert: CN=root",
        'Arcgate-Correlation-Id: {"a":1}',
        "Arcgate-Correlation-Id: " + "a" * 65,
        "Proxy-Authorization: Digest nc=" + "9" * 300,
        "Upgrade: h2c",
        "Content-Length: 0",
    ],
)
async def test_fields_that_mean_nothing_here_are_ignored(machine: AgentMachine, field: str) -> None:
    answer = await machine.ask(connect_head("missing.example.com:443", field))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert len(error_of(answer)["correlationId"]) == 36


async def test_lines_of_the_log_stay_whole_with_hostile_names(machine: AgentMachine) -> None:
    for path in (b'/"quoted"', b"/a%0Alevel=error", b"/=a=b=", b"/\\n", b"/" + b"long" * 1000):
        await machine.ask(b"GET http://missing.example.com" + path + b" HTTP/1.1\r\nHost: missing.example.com\r\n\r\n")
    await until(lambda: len(machine.request_lines()) == 5)
    for line in machine.log_lines():
        assert line.startswith("time=")
        assert line.isprintable()
        assert len(line) < 3000
