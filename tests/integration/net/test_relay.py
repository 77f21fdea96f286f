"""The relay on real sockets: one tunnel that never pauses leaves the loop to the others."""

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.splice import close_spare_pipes
from arcgate.net.streams import SocketStream
from arcgate.net.tasks import spawn
from worlds.sockets import connected_sockets

pytestmark = pytest.mark.anyio

AMOUNT = 300_000_000


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


async def test_a_tunnel_that_never_pauses_leaves_turns_of_the_loop_to_others() -> None:
    far_client, near_client = connected_sockets()
    far_target, near_target = connected_sockets()

    def flood() -> None:
        block = bytes(1 << 20)
        left = AMOUNT
        while left:
            left -= far_client.send(block[: min(left, len(block))])
        far_client.shutdown(socket.SHUT_WR)

    def drain() -> None:
        buffer = bytearray(1 << 20)
        while far_target.recv_into(buffer):
            pass
        far_target.shutdown(socket.SHUT_WR)

    threads = [in_thread(flood), in_thread(drain)]
    client, target = SocketStream(near_client), SocketStream(near_target)
    traffic = Traffic()
    relaying = spawn("relay", relay(client, target, traffic, idle_timeout=30, half_closed_timeout=30))
    most_at_once = turns = 0
    while not relaying.done():
        before = traffic.up
        await asyncio.sleep(0)
        most_at_once = max(most_at_once, traffic.up - before)
        turns += 1
    assert await relaying is Ending.COMPLETED
    assert traffic.up == AMOUNT
    # Nobody waits for more than what one turn carries.
    assert most_at_once <= 16 * 1024 * 1024
    assert turns > 20
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for stream in (client, target):
        await stream.close()
    far_client.close()
    far_target.close()
    close_spare_pipes()
