"""Outbound connections, directly and through scripted proxies."""

import asyncio
import json
import socket
import ssl
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address, parse_authority
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net import dialer
from arcgate.net.dialer import (
    ConnectRefused,
    connect_through,
    dial,
    start_tls,
)
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream, client_context, server_context
from arcgate.wire.connect import format_refusal
from worlds.authority import Authority
from worlds.scripted import LOOPBACK, answering, free_port, full_backlog, serving
from worlds.waiting import settled

pytestmark = pytest.mark.anyio

TARGET = parse_authority(b"a.example:443")
NOWHERE = IPv4Address("127.255.255.254")
"""Loopback, but nothing listens there."""


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return client_context(ca_pem=authority.pem)


async def failure(addresses: list[Address], port: int, timeout: float = 5) -> HopError:
    with pytest.raises(HopError) as caught:
        await dial(addresses, port, timeout)
    assert caught.value.hop is Hop.TCP
    assert caught.value.remedy
    return caught.value


# Dialling


async def test_a_connection_is_made_to_the_address_that_accepts() -> None:
    async with answering(b"hello") as server:
        stream = await dial([LOOPBACK], server.port, 5)
        assert stream.peer == "127.0.0.1"
        await stream.send(b"\r\n\r\n")
        assert await stream.receive() == b"hello"
        await stream.close()


async def test_the_second_address_is_tried_when_the_first_one_refuses() -> None:
    async with answering() as server:
        choices: list[list[Address]] = [[NOWHERE, LOOPBACK], [IPv6Address("::1"), NOWHERE, LOOPBACK]]
        for addresses in choices:
            stream = await dial(addresses, server.port, 5)
            assert stream.peer == "127.0.0.1"
            await stream.close()


async def test_the_next_address_is_tried_beside_one_that_does_not_answer() -> None:
    with full_backlog() as port, socket.create_server(("127.0.0.2", port)) as listening:
        stream = await dial([LOOPBACK, IPv4Address("127.0.0.2")], port, 5)
        assert stream.peer == "127.0.0.2"
        await stream.close()
        listening.accept()[0].close()


async def test_two_addresses_that_accept_at_once_leave_one_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_begun = asyncio.Event()
    begun: list[socket.socket] = []

    async def connect_at_once(_address: Address, _port: int) -> socket.socket:
        one, other = socket.socketpair()
        other.close()
        begun.append(one)
        if len(begun) == 2:
            both_have_begun.set()
        await both_have_begun.wait()
        return one

    monkeypatch.setattr(dialer, "_connect", connect_at_once)
    monkeypatch.setattr(dialer, "STAGGER", 0.01)
    stream = await dial([LOOPBACK, NOWHERE], 443, 5)
    await settled()
    assert sorted(one.fileno() >= 0 for one in begun) == [False, True]
    await stream.close()


async def test_a_refused_connection_says_so() -> None:
    error = await failure([LOOPBACK], free_port())
    assert error.code == "TCP_REFUSED"
    assert "127.0.0.1" in error.sentence


async def test_a_target_that_does_not_answer_is_a_time_out() -> None:
    with full_backlog() as port:
        error = await failure([LOOPBACK], port, timeout=0.3)
        assert error.code == "TCP_TIMEOUT"


async def test_an_address_without_a_route_is_unreachable() -> None:
    error = await failure([IPv4Address("255.255.255.255")], 9)
    assert error.code == "TCP_UNREACHABLE"


async def test_no_address_at_all_is_an_error_and_no_hang() -> None:
    await failure([], 443)


async def test_a_cancelled_dial_leaves_nothing_open() -> None:
    with full_backlog() as port:
        dialling = spawn("dial", dial([LOOPBACK, NOWHERE], port, 30))
        await settled()
        await cancel(dialling)
    assert dialling.cancelled()


# CONNECT


async def through(*pieces: bytes, then: str = "close", pause: bool = False, timeout: float = 5, hop: Hop = Hop.PROXY,
                  fields: Any = ()) -> tuple[ByteStream, Any, list[bytes]]:  # fmt: skip
    """Send CONNECT to a proxy that answers so; return what `connect_through` does and what the proxy received."""
    async with answering(*pieces, then=then, pause=pause) as server:
        stream = await server.connect()
        try:
            tunnel, answered = await connect_through(
                stream, TARGET, timeout, hop=hop, via="proxy.example", fields=fields
            )
            data = b""
            if then == "close":
                while piece := await tunnel.receive():
                    data += piece
            if then == "echo":
                await tunnel.send(b"ping")
                data = await tunnel.receive()
            return tunnel, answered, [*server.received, data]
        finally:
            await stream.close()


async def refused(*pieces: bytes, then: str = "close", **options: Any) -> HopError:
    with pytest.raises(HopError) as caught:
        await through(*pieces, then=then, **options)
    assert "Traceback" not in caught.value.one_line()
    assert caught.value.remedy
    return caught.value


async def test_a_2xx_answer_opens_the_tunnel() -> None:
    for status in (b"200 Connection established", b"200", b"204 x", b"299 "):
        _, _, (head, echoed) = await through(b"HTTP/1.1 " + status + b"\r\n\r\n", then="echo")
        assert head == b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
        assert echoed == b"ping"


async def test_fields_travel_both_ways() -> None:
    _, answered, (head, _) = await through(b"HTTP/1.1 200 OK\r\nVia: 1.1 squid\r\n\r\n", fields=(("X-One", "1"),))
    assert b"\r\nX-One: 1\r\n" in head
    assert answered == (("via", "1.1 squid"),)


async def test_bytes_behind_the_answer_are_the_tunnels_first() -> None:
    _, _, (_, data) = await through(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early\r\n", b"more")
    assert data == b"SSH-2.0-early\r\nmore"


async def test_a_length_in_a_2xx_answer_means_nothing() -> None:
    _, _, (_, data) = await through(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nraw bytes"
    )
    assert data == b"raw bytes"


async def test_an_answer_may_come_in_pieces_after_interim_ones() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nrest"
    pieces = [answer[position : position + 7] for position in range(0, len(answer), 7)]
    _, answered, (_, data) = await through(*pieces, pause=True)
    assert answered == (("a", "b"),)
    assert data == b"rest"


async def test_407_asks_for_credentials_in_its_remedy() -> None:
    error = await refused(
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        then="hang",
    )
    assert isinstance(error, ConnectRefused)
    assert (error.hop, error.code, error.refusal.status) == (Hop.PROXY, "PROXY_REFUSED", 407)
    assert "password" in error.remedy
    assert "proxy.example" in error.sentence


async def test_a_strangers_403_is_the_proxys_even_with_a_page() -> None:
    error = await refused(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>Blocked by policy</html>")
    assert (error.hop, error.code) == (Hop.PROXY, "PROXY_REFUSED")
    assert "a.example:443" in error.remedy


async def test_a_502_page_without_length_is_read_to_its_end() -> None:
    error = await refused(b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", b"x" * 100_000)
    assert isinstance(error, ConnectRefused)
    assert error.refusal.status == 502


@pytest.mark.parametrize(
    ("reason", "hop"),
    [
        (Reason.TARGET_NOT_ALLOWED, Hop.POLICY),
        (Reason.NOT_ASSOCIATED, Hop.POLICY),
        (Reason.CERTIFICATE_REQUIRED, Hop.POLICY),
        (Reason.DNS_FAILED, Hop.TARGET),
        (Reason.TARGET_REFUSED, Hop.TARGET),
        (Reason.TARGET_TIMEOUT, Hop.TARGET),
    ],
)
async def test_a_gateways_refusal_keeps_its_code_sentence_and_remedy(reason: Reason, hop: Hop) -> None:
    answer = format_refusal(Verdict(reason, detail="because"), "abcdefgh", "a.example:443")
    error = await refused(answer, hop=Hop.GATEWAY)
    assert isinstance(error, ConnectRefused)
    assert error.hop is hop
    assert error.code == reason.upper()
    assert error.cause == "because"
    assert error.refusal.correlation_id == "abcdefgh"


async def test_a_gateway_that_is_none_is_named_as_the_hop_that_fails() -> None:
    error = await refused(b"HTTP/1.1 403 Forbidden\r\n\r\n", hop=Hop.GATEWAY)
    assert (error.hop, error.code) == (Hop.GATEWAY, "GATEWAY_REFUSED")


@pytest.mark.parametrize(
    ("pieces", "then"),
    [
        ([], "close"),
        ([], "reset"),
        ([b"HTTP/1.1 200 Conn"], "close"),
        ([b"HTTP/1.1 200 Conn"], "reset"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "close"),
        ([b"\x15\x03\x01\x00\x02\x02\x46"], "hang"),
        ([b"SSH-2.0-OpenSSH\r\n"], "hang"),
        ([b"<html>"], "hang"),
        ([b"HTTP/1.1 200 OK\n\n"], "hang"),
        ([b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"], "hang"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n"], "hang"),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000], "hang"),
        ([b"HTTP/1.1 100 \r\n\r\n" * 20_000], "close"),
    ],
)
async def test_a_proxy_that_answers_nonsense_or_goes_is_an_error_at_once(pieces: list[bytes], then: str) -> None:
    error = await refused(*pieces, then=then)
    assert (error.hop, error.code) == (Hop.PROXY, "PROXY_FAILED")
    assert "proxy.example" in error.sentence
    assert error.cause


async def test_a_head_of_64_kib_is_still_read() -> None:
    start = b"HTTP/1.1 200 OK\r\nA: "
    head = start + b"b" * (64 * 1024 - len(start) - 4) + b"\r\n\r\n"
    _, _, (_, data) = await through(head, b"rest")
    assert data == b"rest"


@pytest.mark.parametrize("pieces", [[], [b"HTTP/1.1 200 OK\r\nA: b\r\n"], [b"HTTP/1.1 100 Continue\r\n\r\n"]])
async def test_a_proxy_that_hangs_is_a_time_out_that_says_for_how_long(pieces: list[bytes]) -> None:
    error = await refused(*pieces, then="hang", timeout=0.2)
    assert error.code == "PROXY_FAILED"
    assert "0.2 s" in error.cause


async def test_a_refusal_whose_connection_stays_open_is_told_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "REFUSAL_TIMEOUT", 1000)  # longer than a test may take
    body = json.dumps({"error": {"message": "no"}}).encode()
    error = await refused(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body) + body, then="hang", timeout=1000
    )
    assert isinstance(error, ConnectRefused)
    assert error.refusal.message == "no"


async def test_a_refusal_whose_body_never_comes_is_told_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "REFUSAL_TIMEOUT", 0.05)
    error = await refused(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\n", then="hang", timeout=1000)
    assert error.code == "PROXY_REFUSED"


# TLS


async def tls_server(authority: Authority, name: str, stream: SocketStream) -> None:
    tls = TlsStream(stream, server_context(*authority.issue(name)), server_side=True)
    await tls.handshake()
    await tls.send(b"inside")
    await tls.end()
    while await stream.receive():
        pass


async def start_failure(stream: ByteStream, trusting: ssl.SSLContext, timeout: float = 5) -> HopError:
    with pytest.raises(HopError) as caught:
        await start_tls(stream, trusting, "server.example", timeout)
    assert caught.value.hop is Hop.TLS
    assert caught.value.remedy
    await stream.close()
    return caught.value


async def test_tls_starts_over_a_connection(authority: Authority, trusting: ssl.SSLContext) -> None:
    async with serving(lambda stream: tls_server(authority, "server.example", stream)) as server:
        tls = await start_tls(await server.connect(), trusting, "server.example", 5)
        assert await tls.receive() == b"inside"
        assert await tls.receive() == b""
        await tls.close()


async def test_a_certificate_that_is_not_trusted_or_for_another_name_is_told_apart_from_other_failures(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    async def serve(stream: SocketStream) -> None:
        with pytest.raises(ssl.SSLError):
            await tls_server(authority, "other.example", stream)

    async with serving(serve) as server:
        for context in (trusting, client_context()):
            error = await start_failure(await server.connect(), context)
            assert error.code == "TLS_CERTIFICATE_REFUSED"
            assert error.cause


async def test_a_server_that_speaks_no_tls_goes_or_hangs_is_told(trusting: ssl.SSLContext) -> None:
    async def plain(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.receive()

    async def gone(stream: SocketStream) -> None:
        await stream.receive()

    async def hanging(stream: SocketStream) -> None:
        while await stream.receive():
            pass

    for script, code, timeout in ((plain, "TLS_FAILED", 5), (gone, "TLS_FAILED", 5), (hanging, "TLS_TIMEOUT", 0.2)):
        async with serving(script) as server:
            error = await start_failure(await server.connect(), trusting, timeout)
            assert error.code == code
