"""The carriage on real sockets: how it ends, and who is named, before and after the kernel has taken over."""

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from arcgate.net.relay import relay
from arcgate.net.splice import close_spare_pipes
from arcgate.net.streams import SocketStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.traffic import BULK, Ending, Traffic
from worlds.sockets import connected_sockets
from worlds.waiting import until

pytestmark = pytest.mark.anyio

AMOUNTS = pytest.mark.parametrize("amount", [1, 4 * BULK], ids=["small", "spliced"])
SIDES = pytest.mark.parametrize("broken", ["client", "target"])
RESETS = {"client": Ending.CLIENT_RESET, "target": Ending.TARGET_RESET}


class Tunnel:
    """A relay between two connections; `far` has their other ends."""

    def __init__(self, idle: float, half_closed: float) -> None:
        client, near_client = connected_sockets()
        target, near_target = connected_sockets()
        self.far = {"client": client, "target": target}
        for one in self.far.values():
            one.setblocking(False)
        self.streams = SocketStream(near_client), SocketStream(near_target)
        self.traffic = Traffic()
        self.ending = spawn(
            "relay", relay(*self.streams, self.traffic, idle_timeout=idle, half_closed_timeout=half_closed)
        )

    async def carry(self, amount: int) -> None:
        """Carry so many bytes each way."""
        loop = asyncio.get_running_loop()
        for source, sink in (("client", "target"), ("target", "client")):
            sending = spawn("send", loop.sock_sendall(self.far[source], bytes(amount)))
            left = amount
            while left:
                left -= len(await loop.sock_recv(self.far[sink], left))
            await sending
        await until(lambda: (self.traffic.up, self.traffic.down) == (amount, amount))

    def reset(self, who: str) -> None:
        self.far[who].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far[who].close()

    async def end(self, who: str) -> None:
        """End a direction, and wait until the other side has been told."""
        other = "target" if who == "client" else "client"
        self.far[who].shutdown(socket.SHUT_WR)
        assert await asyncio.get_running_loop().sock_recv(self.far[other], 1) == b""


@asynccontextmanager
async def tunnel(idle: float = 30, half_closed: float = 30) -> AsyncIterator[Tunnel]:
    one = Tunnel(idle, half_closed)
    try:
        yield one
    finally:
        await cancel(one.ending)
        for stream in one.streams:
            await stream.close()
        for far in one.far.values():
            far.close()
        close_spare_pipes()


@AMOUNTS
async def test_a_direction_ends_by_itself_and_the_tunnel_with_the_second_one(amount: int) -> None:
    async with tunnel() as one:
        await one.carry(amount)
        await one.end("client")
        assert not one.ending.done()
        await one.end("target")
        assert await one.ending is Ending.COMPLETED


@AMOUNTS
@SIDES
async def test_a_side_that_breaks_is_named(amount: int, broken: str) -> None:
    async with tunnel() as one:
        await one.carry(amount)
        one.reset(broken)
        assert await one.ending is RESETS[broken]


@AMOUNTS
@SIDES
async def test_a_side_that_has_ended_and_closed_need_not_hear_the_others_last_words(amount: int, broken: str) -> None:
    other = "target" if broken == "client" else "client"
    async with tunnel() as one:
        await one.carry(amount)
        await one.end(broken)
        one.far[broken].close()
        one.far[other].send(b"last words")  # answered by a reset
        await until(lambda: amount + 10 in {one.traffic.up, one.traffic.down})
        one.far[other].shutdown(socket.SHUT_WR)
        assert await one.ending is Ending.COMPLETED


@AMOUNTS
@SIDES
async def test_a_side_that_breaks_after_its_own_end_is_named_when_more_than_last_words_are_sent(
    amount: int, broken: str
) -> None:
    other = "target" if broken == "client" else "client"
    async with tunnel() as one:
        await one.carry(amount)
        await one.end(broken)
        one.reset(broken)
        one.far[other].send(b"not the last")
        assert await one.ending is RESETS[broken]


@AMOUNTS
@SIDES
async def test_a_side_that_breaks_while_the_other_sends_never_looks_like_one_that_has_ended(
    amount: int, broken: str
) -> None:
    other = "target" if broken == "client" else "client"
    for _ in range(30):
        async with tunnel() as one:
            await one.carry(amount)
            one.far[other].send(bytes(1000))
            one.reset(broken)
            await one.ending
            with pytest.raises(BlockingIOError):  # an end would be b"" here
                one.far[other].recv(1)


@AMOUNTS
async def test_a_silent_tunnel_ends_as_idle(amount: int) -> None:
    async with tunnel(idle=0.2) as one:
        await one.carry(amount)
        assert await one.ending is Ending.IDLE


@AMOUNTS
async def test_a_half_closed_tunnel_has_a_time_of_its_own(amount: int) -> None:
    async with tunnel(half_closed=0.2) as one:
        await one.carry(amount)
        await one.end("client")
        assert await one.ending is Ending.IDLE


RELAY = """
import asyncio, socket, sys
from arcgate.net.relay import Traffic, relay
from arcgate.net.streams import SocketStream
async def main():
    client, target = (SocketStream(socket.socket(fileno=int(number))) for number in sys.argv[1:])
    await relay(client, target, Traffic(), idle_timeout=60, half_closed_timeout=60)
asyncio.run(main())
"""


@AMOUNTS
def test_both_sides_see_a_cut_when_the_process_is_killed(amount: int) -> None:
    (client, near_client), (target, near_target) = connected_sockets(), connected_sockets()
    descriptors = near_client.fileno(), near_target.fileno()
    command = [sys.executable, "-c", RELAY, *map(str, descriptors)]
    with client, target, subprocess.Popen(command, pass_fds=descriptors) as process:
        for one in (near_client, near_target):
            one.close()
        for source, sink in ((client, target), (target, client)):
            source.sendall(bytes(amount))
            assert len(sink.recv(amount, socket.MSG_WAITALL)) == amount
        process.kill()
        for one in (client, target):
            with pytest.raises(ConnectionResetError):
                one.recv(1)


@AMOUNTS
async def test_a_cancelled_tunnel_carries_nothing_any_more(amount: int) -> None:
    async with tunnel() as one:
        await one.carry(amount)
        await cancel(one.ending)
        for source in one.far.values():
            source.send(b"too late")
        for stream in one.streams:
            await until(lambda stream=stream: stream.socket.recv(1, socket.MSG_PEEK) != b"")  # type: ignore[misc]
        assert (one.traffic.up, one.traffic.down) == (amount, amount)
