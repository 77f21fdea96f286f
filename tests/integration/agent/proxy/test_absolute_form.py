"""Plain HTTP through Arc Proxy in absolute form: every way, streamed, and nothing that two parsers read differently."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.net.streams import SocketStream, StreamReset
from worlds.agent_machine import AgentMachine, address, agent_machine, error_of, read_all, target
from worlds.authority import Authority
from worlds.fake_gateway import fake_gateway
from worlds.fake_proxy import fake_proxy
from worlds.waiting import until

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        one.resolver.addresses["web.example.com"] = [address("127.0.0.1")]
        yield one


class Origin:
    """A web server that keeps what it is sent and answers with fixed bytes once `complete` says so."""

    def __init__(self, answer: bytes = OK, complete: bytes = b"\r\n\r\n") -> None:
        self.answer = answer
        self.complete = complete
        self.received = b""

    async def __call__(self, stream: SocketStream) -> None:
        while self.complete not in self.received:
            data = await stream.receive()
            if not data:
                return
            self.received += data
        await stream.send(self.answer)
        await stream.end()
        self.received += await read_all(stream)


async def _receive_for_ever(stream: SocketStream) -> None:
    while await stream.receive():
        pass


def request(port: int, *fields: str, method: str = "GET", path: str = "/a?b=c", body: bytes = b"") -> bytes:
    authority = f"web.example.com:{port}"
    lines = (f"{method} http://{authority}{path} HTTP/1.1", f"Host: {authority}", *fields, "", "")
    return "\r\n".join(lines).encode() + body


async def test_a_get_reaches_its_host_in_origin_form_without_fields_that_were_for_us(machine: AgentMachine) -> None:
    origin = Origin()
    async with target(origin) as port:
        fields = (
            "Proxy-Authorization: Basic c2VjcmV0",
            "Proxy-Connection: keep-alive",
            "Connection: keep-alive, X-Private",
            "X-Private: 1",
            "TE: trailers",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "Arcgate-Correlation-Id: abcdefgh-1",
            "X-Kept: yes",
        )
        answer = await machine.ask(request(port, *fields))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head.lower()
    assert b"via: 1.1 arcproxy" in head.lower()
    assert body == b"hello"
    lines = origin.received.decode().lower().split("\r\n")
    assert lines[0] == "get /a?b=c http/1.1"
    assert lines[1] == f"host: web.example.com:{port}"
    assert "x-kept: yes" in lines
    assert not re.search("secret|x-private|proxy-|upgrade|http2|^te:|arcgate", origin.received.decode().lower(), re.M)
    await until(lambda: len(machine.request_lines()) == 1)
    assert "method=GET" in machine.request_lines()[0]
    assert "status=200 reason=completed bytes_up=0 bytes_down=5" in machine.request_lines()[0]


async def test_a_chunked_upload_is_streamed_and_framed_anew(machine: AgentMachine) -> None:
    origin = Origin(complete=b"0\r\n\r\n")
    async with target(origin) as port:
        body = b"5;extension=1\r\nhello\r\n000006\r\n world\r\n0\r\nX-Trailer: dropped\r\n\r\n"
        answer = await machine.ask(request(port, "Transfer-Encoding: chunked", method="POST", body=body))
    assert answer.startswith(b"HTTP/1.1 200 ")
    sent = origin.received.partition(b"\r\n\r\n")[2]
    assert b"".join(re.findall(rb"[0-9a-f]+\r\n([a-z ]+)\r\n", sent)) == b"hello world"
    assert b"extension" not in sent
    assert b"Trailer" not in sent


async def test_a_large_body_with_a_length_passes_both_ways(machine: AgentMachine) -> None:
    size = 3_000_000
    origin = Origin(b"HTTP/1.1 201 Made\r\nContent-Length: %d\r\n\r\n" % size + b"d" * size, complete=b"u" * size)
    async with target(origin) as port:
        answer = await machine.ask(request(port, f"Content-Length: {size}", method="PUT", body=b"u" * size))
    assert answer.startswith(b"HTTP/1.1 201 Made\r\n")
    assert answer.count(b"d" * 1000) == size // 1000
    await until(lambda: len(machine.request_lines()) == 1)
    assert f"bytes_up={size} bytes_down={size}" in machine.request_lines()[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    ],
)
async def test_every_framing_of_a_response_arrives_whole(machine: AgentMachine, answer: bytes) -> None:
    async with target(Origin(answer)) as port:
        received = await machine.ask(request(port))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"hello" in received


async def test_an_answer_to_head_has_its_length_and_no_body(machine: AgentMachine) -> None:
    async with target(Origin(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as port:
        answer = await machine.ask(request(port, method="HEAD"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 500\r\n" in answer.lower()
    assert answer.endswith(b"\r\n\r\n")


async def test_a_client_that_waits_for_100_continue_gets_it(machine: AgentMachine) -> None:
    async def go_on(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n")
        while b"body" not in await stream.receive():
            pass
        await stream.send(OK)
        await stream.end()

    async with target(go_on) as port:
        client = await machine.connect()
        await client.send(request(port, "Expect: 100-continue", "Content-Length: 4", method="POST"))
        assert (await client.receive()).startswith(b"HTTP/1.1 100 ")
        await client.send(b"body")
        assert (await read_all(client)).endswith(b"hello")
        await client.close()


async def test_an_early_answer_counts_although_the_upload_is_not_over(machine: AgentMachine) -> None:
    origin = Origin(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
    async with target(origin) as port:
        client = await machine.connect()
        await client.send(request(port, "Content-Length: 1000000", method="POST", body=b"some"))
        assert (await read_all(client)).endswith(b"big")
        await client.close()


async def test_a_second_request_behind_the_first_is_not_carried(machine: AgentMachine) -> None:
    origin = Origin()
    async with target(origin) as port:
        answer = await machine.ask(request(port) + request(port, path="/second"))
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"second" not in origin.received


async def test_a_response_that_is_cut_is_cut_for_the_client_too(machine: AgentMachine) -> None:
    async with target(Origin(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this")) as port:
        client = await machine.connect()
        await client.send(request(port))
        with pytest.raises(StreamReset):
            await _receive_for_ever(client)
        await client.close()
    await until(lambda: len(machine.request_lines()) == 1)
    assert "reason=target_reset" in machine.request_lines()[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000 + b"\r\n\r\n",
    ],
)
async def test_a_host_that_does_not_answer_proper_http_is_502(machine: AgentMachine, answer: bytes) -> None:
    async with target(Origin(answer)) as port:
        received = await machine.ask(request(port))
    assert received.startswith(b"HTTP/1.1 502 ")
    assert error_of(received)["hop"] == "target"


@pytest.mark.parametrize(
    "body",
    [
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b" \r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: " + b"t" * 1_048_576,
        b"5" * 100_000,
    ],
)
async def test_malformed_chunks_are_refused_and_the_host_sees_no_whole_request(
    machine: AgentMachine, body: bytes
) -> None:
    origin = Origin(complete=b"0\r\n\r\n")
    async with target(origin) as port:
        answer = await machine.ask(request(port, "Transfer-Encoding: chunked", method="POST", body=body))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert not origin.received.endswith(b"0\r\n\r\n")
    await until(lambda: len(machine.request_lines()) == 1)
    assert "status=400 reason=request_malformed" in machine.request_lines()[0]


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5, 5",),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length: 1_0",),
        ("Content-Length: 0x5",),
        ("Content-Length: 5.0",),
        ("Content-Length:",),
        ("Content-Length: 9223372036854775808",),
        ("Content-Length: 18446744073709551621",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding: identity",),
    ],
)
async def test_framing_that_two_parsers_could_read_differently_is_refused(
    machine: AgentMachine, fields: tuple[str, ...]
) -> None:
    origin = Origin()
    async with target(origin) as port:
        answer = await machine.ask(request(port, *fields, method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert origin.received == b""


async def test_a_client_that_ends_within_its_body_makes_no_whole_request(machine: AgentMachine) -> None:
    origin = Origin(complete=b"whole")
    async with target(origin) as port:
        answer = await machine.ask(request(port, "Content-Length: 10", method="POST", body=b"ha"), end=True)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_plain_http_that_the_gateway_allows_goes_through_it(machine: AgentMachine, authority: Authority) -> None:
    origin = Origin()
    async with fake_gateway(authority, authority) as gateway, target(origin) as port:
        machine.set_certificate(authority)
        machine.set_goal("crl.example.com:80", port=gateway.port)
        gateway.ports["crl.example.com:80"] = port
        answer = await machine.ask(b"GET http://crl.example.com/list HTTP/1.1\r\nHost: crl.example.com\r\n\r\n")
        assert answer.endswith(b"hello")
        refused = await machine.ask(b"GET http://CRL.example.com:80 HTTP/1.0\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 200 ")
    assert [one.target.authority for one in gateway.requests] == ["crl.example.com:80"] * 2
    assert origin.received.startswith(b"GET /list HTTP/1.1\r\nHost: crl.example.com\r\n")


async def test_an_enterprise_proxy_gets_the_absolute_form_and_its_own_credential(machine: AgentMachine) -> None:
    async with fake_proxy(OK) as proxy:
        proxy.wants = "Basic dXNlcjpzZWNyZXQ="
        machine.set(proxy_url=proxy.url.replace("//", "//user:secret@"))
        answer = await machine.ask(
            b"GET http://Web.Example.com:80/a?b HTTP/1.1\r\nHost: web.example.com\r\n"
            b"Proxy-Authorization: Basic b3du\r\n\r\n"
        )
    assert answer.endswith(b"hello")
    assert [head.method for head in proxy.heads] == ["HEAD", "HEAD", "GET"]
    assert proxy.heads[2].target == b"http://web.example.com/a?b"
    assert proxy.heads[2].all("proxy-authorization") == ["Basic dXNlcjpzZWNyZXQ="]


async def test_a_proxys_demand_for_a_password_is_ours_to_report(machine: AgentMachine) -> None:
    async with fake_proxy(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n") as proxy:
        machine.set(proxy_url=proxy.url)
        answer = await machine.ask(b"GET http://web.example.com/ HTTP/1.1\r\nHost: web.example.com\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["hop"] == "proxy"
    assert "proxy.credentials" in error_of(answer)["remedy"]


async def test_a_request_to_arc_proxy_itself_is_refused(machine: AgentMachine) -> None:
    authority = f"127.0.0.1:{machine.port}"
    answer = await machine.ask(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_client_that_goes_while_it_is_answered_ends_the_request(machine: AgentMachine) -> None:
    async def pour(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b"x" * 65_536)

    async with target(pour) as port:
        client = await machine.connect()
        await client.send(request(port))
        await client.receive()
        client.abort()
        await until(lambda: len(machine.request_lines()) == 1)
    assert "reason=client_reset" in machine.request_lines()[0]


async def test_slow_trickles_of_body_are_carried_as_they_come(machine: AgentMachine) -> None:
    arrived = asyncio.Event()

    async def wait_for_half(stream: SocketStream) -> None:
        received = b""
        while b"half" not in received:
            received += await stream.receive()
        arrived.set()
        while b"rest" not in received:
            received += await stream.receive()
        await stream.send(OK)
        await stream.end()

    async with target(wait_for_half) as port:
        client = await machine.connect()
        await client.send(request(port, "Content-Length: 8", method="POST", body=b"half"))
        await asyncio.wait_for(arrived.wait(), 10)
        await client.send(b"rest")
        assert (await read_all(client)).endswith(b"hello")
        await client.close()


async def test_field_values_beyond_ascii_pass_both_ways_unchanged(machine: AgentMachine) -> None:
    origin = Origin(b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n")
    async with target(origin) as port:
        plain = request(port, "X-Name: NAME")
        answer = await machine.ask(plain.replace(b"NAME", b"na\xefve"))
    assert b": na\xefve\r\n" in origin.received
    assert b": caf\xe9\r\n" in answer
