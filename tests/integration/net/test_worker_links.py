"""Links between workers: what they are for, whole bytes, and cuts that can be told from ends."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.errors import HopError
from arcgate.net.listener import Listener
from arcgate.net.local_sockets import listen_locally
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tasks import spawn
from arcgate.net.worker_links import LinkStream, accept_link, open_link
from worlds.waiting import until

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 8_000


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[LinkStream, LinkStream, dict[str, Any]]]:
    """Both ends of a link, and what it is for."""
    path = folder / ("long" * 30) / "worker-0.sock"
    accepted: list[tuple[dict[str, Any], LinkStream]] = []
    done: list[None] = []

    async def serve(stream: SocketStream) -> None:
        accepted.append(await accept_link(stream))
        await until(lambda: bool(done), 20)

    listener = Listener([listen_locally(path)], serve)
    listener.start()
    link = await open_link(path, {"kind": "machine", "peer": "192.0.2.1"}, "192.0.2.1")
    try:
        await until(lambda: bool(accepted))
        purpose, other = accepted[0]
        yield link, other, purpose
    finally:
        done.append(None)
        await link.close()
        await listener.stop(5)


async def read_all(stream: LinkStream) -> bytes:
    received = b""
    while data := await stream.receive():
        received += data
    return received


async def test_a_link_says_what_it_is_for_and_for_whom(tmp_path: Path) -> None:
    async with linked(tmp_path) as (_, other, purpose):
        assert purpose["kind"] == "machine"
        assert other.peer == "192.0.2.1"


async def test_bytes_arrive_whole_and_each_direction_ends_by_itself(tmp_path: Path) -> None:
    async with linked(tmp_path) as (one, other, _):
        reading = spawn("read", read_all(other))
        await one.send(CONTENT)
        await one.end()
        assert await reading == CONTENT
        await other.send(b"and back")
        await other.end()
        assert await read_all(one) == b"and back"


async def test_a_cut_is_no_end(tmp_path: Path) -> None:
    async with linked(tmp_path) as (one, other, _):
        await one.send(b"half")
        one.abort()
        assert await other.receive() == b"half"
        with pytest.raises(StreamReset):
            await other.receive()


def test_the_socket_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "worker-0.sock"
    listen_locally(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_worker_that_is_away_is_an_error_with_words(tmp_path: Path) -> None:
    with pytest.raises(HopError) as raised:
        await open_link(tmp_path / "worker-1.sock", {}, "")
    assert raised.value.code == "WORKER_UNREACHABLE"


async def test_what_a_killed_worker_left_is_no_hindrance(tmp_path: Path) -> None:
    listen_locally(tmp_path / "worker-0.sock").close()
    listen_locally(tmp_path / "worker-0.sock").close()


@pytest.mark.parametrize("words", [b"", b"no json\n", b"x" * 40_000])
async def test_a_stranger_on_the_socket_is_let_go(tmp_path: Path, words: bytes) -> None:
    path = tmp_path / "worker-0.sock"
    failures: list[StreamReset] = []

    async def serve(stream: SocketStream) -> None:
        try:
            await accept_link(stream)
        except StreamReset as error:
            failures.append(error)

    listener = Listener([listen_locally(path)], serve)
    listener.start()
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connecting.connect(str(path))
    stream = SocketStream(connecting)
    await stream.send(words)
    await stream.end()
    await until(lambda: bool(failures))
    await stream.close()
    await listener.stop(5)
