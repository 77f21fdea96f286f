"""The accept loop: it survives running out of descriptors, and drains at the end."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import weakref
from ipaddress import IPv4Address

import pytest
from structlog.testing import capture_logs

from arcgate.core.errors import StateError
from arcgate.net.dialer import dial
from arcgate.net.listener import Listener, address_of, listen
from arcgate.net.stages import Stage
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tasks import spawn
from worlds.scripted import LOOPBACK
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio


async def echo(stream: SocketStream) -> None:
    with contextlib.suppress(StreamReset):
        while data := await stream.receive():
            await stream.send(data)


async def connect(listener: Listener) -> SocketStream:
    return await dial([LOOPBACK], int(listener.addresses[0].rpartition(":")[2]), 5)


async def test_each_connection_gets_a_handler_of_its_own() -> None:
    listener = Listener([listen("127.0.0.1", 0)], echo)
    listener.start()
    streams = [await connect(listener) for _ in range(50)]
    for number, stream in enumerate(streams):
        await stream.send(b"%d" % number)
    for number, stream in enumerate(streams):
        assert await stream.receive() == b"%d" % number
    assert listener.open_connections == 50
    for stream in streams:
        await stream.close()
    await until(lambda: listener.open_connections == 0)
    await listener.stop(1)


async def test_several_sockets_share_one_handler() -> None:
    listener = Listener([listen("127.0.0.1", 0), listen("::1", 0)], echo)
    assert listener.addresses[0].startswith("127.0.0.1:")
    assert listener.addresses[1].startswith("[::1]:")
    listener.start()
    with socket.create_connection(("::1", int(listener.addresses[1].rpartition(":")[2]))):
        await until(lambda: listener.open_connections == 1)
    await listener.stop(1)


async def test_a_stage_is_gone_while_the_next_one_runs_and_the_connection_stays_open_until_the_last_has_ended() -> None:
    class Head:
        pass

    heads: list[weakref.ref[Head]] = []

    async def begin(stream: SocketStream) -> Stage:
        head = Head()
        heads.append(weakref.ref(head))
        await stream.receive()
        return carry(stream)

    async def carry(stream: SocketStream) -> None:
        await echo(stream)

    listener = Listener([listen("127.0.0.1", 0)], begin)
    listener.start()
    client = await connect(listener)
    await client.send(b"head")
    await until(lambda: bool(heads) and heads[0]() is None)
    await client.send(b"bytes")
    assert await client.receive() == b"bytes"
    assert listener.open_connections == 1
    await client.close()
    await until(lambda: listener.open_connections == 0)
    await listener.stop(1)


async def test_a_handler_that_crashes_closes_its_connection_and_no_other() -> None:
    async def fragile(stream: SocketStream) -> None:
        if await stream.receive() == b"crash":
            raise ValueError("broken")
        await echo(stream)

    listener = Listener([listen("127.0.0.1", 0)], fragile)
    listener.start()
    good, bad = await connect(listener), await connect(listener)
    await good.send(b"first")
    with capture_logs() as logs:
        await bad.send(b"crash")
        assert await bad.receive() == b""
        await settled()
    assert [entry["event"] for entry in logs] == ["task crashed"]
    await good.send(b"second")
    await until(lambda: listener.open_connections == 1)
    await good.close()
    await bad.close()
    await listener.stop(1)


async def test_stopping_waits_for_handlers_and_takes_no_more_connections() -> None:
    listener = Listener([listen("127.0.0.1", 0)], echo)
    port = int(listener.addresses[0].rpartition(":")[2])
    listener.start()
    stream = await connect(listener)
    await stream.send(b"x")
    assert await stream.receive() == b"x"
    stopping = spawn("stop", listener.stop(30))
    await settled()
    assert not stopping.done()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    await stream.send(b"still served")
    assert await stream.receive() == b"still served"
    await stream.end()
    await stopping
    assert listener.open_connections == 0
    await stream.close()


async def test_handlers_that_do_not_end_are_cancelled_after_the_drain_time() -> None:
    cleaned = asyncio.Event()

    async def stubborn(stream: SocketStream) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    listener = Listener([listen("127.0.0.1", 0)], stubborn)
    listener.start()
    stream = await connect(listener)
    await until(lambda: listener.open_connections == 1)
    await listener.stop(0.05)
    assert cleaned.is_set()
    assert listener.open_connections == 0
    assert await stream.receive() == b""
    await stream.close()


async def test_a_connection_that_is_reset_before_it_is_handled_does_no_harm() -> None:
    listener = Listener([listen("127.0.0.1", 0)], echo)
    for _ in range(20):
        stream = await connect(listener)
        stream.abort()
    listener.start()
    good = await connect(listener)
    await good.send(b"x")
    assert await good.receive() == b"x"
    await good.close()
    await listener.stop(1)


async def test_a_listening_socket_that_breaks_does_not_stop_the_loop() -> None:
    broken = listen("127.0.0.1", 0)
    listener = Listener([broken], echo)
    broken.shutdown(socket.SHUT_RDWR)
    with capture_logs() as logs:
        listener.start()
        await until(lambda: len(logs) >= 1)
        await settled(200)
    assert len(logs) == 1  # it pauses before it tries again
    await listener.stop(0)


async def test_a_port_that_is_taken_is_a_state_error_that_says_how_to_find_the_holder() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(StateError) as caught:
        listen("127.0.0.1", first.getsockname()[1])
    assert caught.value.code == "LISTEN_FAILED"
    assert "ss -ltnp" in caught.value.remedy


async def test_an_address_of_another_machine_is_a_state_error() -> None:
    with pytest.raises(StateError):
        listen("192.0.2.1", 0)


async def test_both_families_listen_on_one_port() -> None:
    with listen("127.0.0.1", 0) as four, listen("::1", four.getsockname()[1]) as six:
        assert address_of(four).rpartition(":")[2] == address_of(six).rpartition(":")[2]
        assert not six.getblocking()


SERVER = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
from arcgate.net.listener import Listener, listen
from arcgate.net.logs import configure_logging

async def echo(stream):
    while data := await stream.receive():
        await stream.send(data)

async def main():
    configure_logging()
    listener = Listener([listen("127.0.0.1", 0)], echo)
    listener.start()
    print(listener.addresses[0].rpartition(":")[2], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await listener.stop(0)

asyncio.run(main())
"""


def start_server() -> "subprocess.Popen[bytes]":
    """Start a server that has few descriptors and ends when its standard input does."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def echoes(stream: SocketStream) -> bool:
    try:
        await stream.send(b"x")
        return await stream.receive() == b"x"
    except StreamReset:
        return False


async def test_when_descriptors_run_out_connections_wait_and_are_served_later() -> None:
    server = start_server()
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        port = int(server.stdout.readline())
        streams = [await dial([IPv4Address("127.0.0.1")], port, 5) for _ in range(100)]
        # The server says so, and those that have a descriptor are served all the same.
        line = await asyncio.to_thread(server.stderr.readline)
        assert b"no descriptors left" in line
        # From here on the same is not said again.
        assert await echoes(streams[0])
        late = [spawn("late", echoes(stream)) for stream in streams[60:]]
        await settled()
        for stream in streams[:60]:
            await stream.close()
        # As descriptors come free, the waiting ones get their turn, all of them in the end.
        for task, stream in zip(late, streams[60:], strict=True):
            assert await task
            await stream.close()
        assert server.poll() is None
    finally:
        server.stdin.close()
        await asyncio.to_thread(server.wait, 20)
        errors = server.stderr.read()
        server.stdout.close()
        server.stderr.close()
    assert b"Traceback" not in errors
    assert b"no descriptors left" not in errors
    assert server.returncode == 0
