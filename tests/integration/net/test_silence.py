"""How long a connection has brought nothing."""

import math
import socket
from collections.abc import Iterator

import pytest

from arcgate.net.silence import silence_of
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    with one, other:
        one.setblocking(False)
        yield one, other


async def test_silence_grows_until_a_byte_comes_and_is_none_until_that_is_read(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    one, other = ends
    await until(lambda: silence_of(one) >= 0.05)
    other.send(b"x")
    await until(lambda: silence_of(one) == 0)
    assert one.recv(1) == b"x"
    assert silence_of(one) < math.inf
    await until(lambda: silence_of(one) >= 0.05)


async def test_where_nothing_will_come_silence_is_endless(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    other.close()
    await until(lambda: silence_of(one) == math.inf)
    one.close()
    assert silence_of(one) == math.inf


def test_what_is_no_tcp_connection_is_not_waited_for() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        assert silence_of(one) == math.inf
