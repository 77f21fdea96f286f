"""Streams on real sockets: half-close, reset, back-pressure."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from arcgate.net.streams import (
    CHUNK,
    ByteStream,
    PrefixedStream,
    SocketStream,
    StreamReset,
    close_gently,
    peer_address,
)
from arcgate.net.tasks import cancel, spawn
from worlds.sockets import connected_sockets
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio

Pair = tuple[SocketStream, SocketStream]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    client, server = connected_sockets()
    streams = SocketStream(client), SocketStream(server)
    yield streams
    for stream in streams:
        await stream.close()


async def receive_all(stream: ByteStream) -> bytes:
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


async def flood(stream: SocketStream) -> None:
    """Send until it is noticed that nobody takes it."""
    while True:
        await stream.send(b"x" * 100_000)


async def test_bytes_arrive_and_directions_end_by_themselves(pair: Pair) -> None:
    client, server = pair
    await client.send(b"question")
    assert await server.receive() == b"question"
    await client.end()
    assert await server.receive() == b""
    assert await server.receive() == b""
    await server.send(b"answer")
    await server.end()
    assert await receive_all(client) == b"answer"


async def test_a_receiver_that_waits_is_woken_by_bytes_end_and_reset(pair: Pair) -> None:
    client, server = pair
    for _ in range(3):
        waiting = spawn("receive", server.receive())
        await settled()
        assert not waiting.done()
        await client.send(b"x")
        assert await waiting == b"x"
    waiting = spawn("receive", server.receive())
    await settled()
    await client.end()
    assert await waiting == b""
    waiting = spawn("receive", client.receive())
    await settled()
    server.abort()
    with pytest.raises(StreamReset):
        await waiting


async def test_a_lot_both_ways_at_once_arrives_unchanged(pair: Pair) -> None:
    client, server = pair
    data = random.Random(1).randbytes(20_000_000)

    async def send(stream: SocketStream) -> None:
        await stream.send(data)
        await stream.end()

    _, _, one, other = await asyncio.gather(send(client), send(server), receive_all(client), receive_all(server))
    assert one == data
    assert other == data


async def test_a_writer_waits_while_nobody_reads_and_goes_on_when_somebody_does(pair: Pair) -> None:
    client, server = pair
    total = 50_000_000
    sending = spawn("send", client.send(bytes(total)))
    await settled(200)
    assert not sending.done()
    received = 0
    while received < total:
        data = await server.receive()
        assert 0 < len(data) <= CHUNK
        received += len(data)
    await sending


async def test_a_writer_that_waits_notices_the_reset(pair: Pair) -> None:
    client, server = pair
    sending = spawn("send", client.send(bytes(50_000_000)))
    await settled(200)
    server.abort()
    with pytest.raises(StreamReset):
        await sending


async def test_an_abort_is_seen_as_a_reset_and_a_close_as_an_end(pair: Pair) -> None:
    client, server = pair
    client.abort()
    with pytest.raises(StreamReset):
        await server.receive()
    client_socket, server_socket = connected_sockets()
    one, other = SocketStream(client_socket), SocketStream(server_socket)
    await one.close()
    assert await other.receive() == b""
    await other.close()


async def test_closing_and_aborting_again_does_no_harm(pair: Pair) -> None:
    client, _ = pair
    client.abort()
    client.abort()
    await client.close()
    await client.close()


async def test_using_a_stream_whose_peer_has_reset_is_a_stream_reset(pair: Pair) -> None:
    client, server = pair
    server.abort()
    await until(lambda: client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or True)
    with pytest.raises(StreamReset):
        await flood(client)
    with pytest.raises(StreamReset):
        await client.end()
    with contextlib.suppress(StreamReset):
        assert await client.receive() == b""


async def test_a_cancelled_receive_loses_no_byte(pair: Pair) -> None:
    client, server = pair
    for number in range(100):
        waiting = spawn("receive", server.receive())
        await asyncio.sleep(0)
        await client.send(b"%03d" % number)
        await cancel(waiting)
        got = b"" if waiting.cancelled() else waiting.result()
        while len(got) < 3:
            got += await server.receive()
        assert got == b"%03d" % number


async def test_reading_and_writing_at_once_by_two_tasks_is_fine(pair: Pair) -> None:
    client, server = pair
    echo_count = 500

    async def echo() -> None:
        for _ in range(echo_count):
            await server.send(await server.receive())

    echoing = spawn("echo", echo())
    for number in range(echo_count):
        await client.send(b"%d" % number)
        assert await client.receive() == b"%d" % number
    await echoing


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
async def test_a_stream_knows_its_peer_and_keeps_looking_for_it(family: socket.AddressFamily, address: str) -> None:
    client, server = connected_sockets(family)
    stream = SocketStream(server)
    assert stream.peer == address
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    # A peer that vanished is found within 45 s.
    idle, interval, count = (
        server.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + interval * count <= 45
    client.close()
    await stream.close()


async def test_a_socket_of_the_file_system_has_no_peer_address() -> None:
    one, other = socket.socketpair()
    assert peer_address(one) == ""
    stream = SocketStream(one, peer="named")
    assert stream.peer == "named"
    await stream.close()
    other.close()
    assert peer_address(one) == ""


async def test_bytes_that_were_read_already_come_first(pair: Pair) -> None:
    client, server = pair
    prefixed = PrefixedStream(b"read already ", server)
    await client.send(b"and then this")
    assert await prefixed.receive() == b"read already "
    assert await prefixed.receive() == b"and then this"
    await prefixed.send(b"back")
    assert await client.receive() == b"back"
    await prefixed.end()
    assert await client.receive() == b""
    assert prefixed.peer == "127.0.0.1"
    prefixed.abort()
    with pytest.raises(StreamReset):
        await flood(client)


async def test_a_gentle_close_lets_the_answer_arrive_though_the_peer_is_still_sending(pair: Pair) -> None:
    client, server = pair
    sending = spawn("send", client.send(bytes(5_000_000)))
    await server.receive()
    await server.send(b"refused")
    closing = spawn("close", close_gently(server))
    await sending
    assert await receive_all(client) == b"refused"
    await client.end()
    await closing


async def test_a_gentle_close_waits_no_longer_than_its_time(pair: Pair) -> None:
    _, server = pair
    await close_gently(server, timeout=0.05)
    assert server.socket.fileno() == -1


async def test_a_thousand_streams_come_and_go_without_mixing_up(pair: Pair) -> None:
    for number in range(300):
        client, server = (SocketStream(one) for one in connected_sockets())
        waiting = spawn("receive", server.receive())
        await asyncio.sleep(0)
        await client.send(b"%d" % number)
        assert await waiting == b"%d" % number
        await client.close()
        assert await server.receive() == b""
        await server.close()
