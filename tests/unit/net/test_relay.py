"""The relay over streams in memory: every ending, exact counts, time-outs, bounded memory."""

import asyncio
import hashlib
import random

import pytest

from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.streams import StreamReset
from arcgate.net.tasks import cancel, spawn
from worlds.memory_streams import Chunk, MemoryStream, cycle, memory_pair, whole
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio

LONG = 30.0


class Tunnel:
    """A relay between two pairs of streams; `client` and `target` are the far ends."""

    def __init__(
        self,
        *,
        idle: float = LONG,
        half_closed: float = LONG,
        capacity: int = 64 * 1024,
        chunk: Chunk = whole,
    ) -> None:
        self.client, self.near_client = memory_pair(capacity, chunk)
        self.target, self.near_target = memory_pair(capacity, chunk)
        self.traffic = Traffic()
        self.ending: asyncio.Task[Ending] = spawn(
            "relay",
            relay(self.near_client, self.near_target, self.traffic, idle_timeout=idle, half_closed_timeout=half_closed),
        )

    @property
    def counts(self) -> tuple[int, int]:
        return self.traffic.up, self.traffic.down


async def receive_all(stream: MemoryStream) -> bytes:
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


async def test_bytes_and_ends_pass_in_both_directions() -> None:
    tunnel = Tunnel()
    await tunnel.client.send(b"question")
    assert await tunnel.target.receive() == b"question"
    await tunnel.client.end()
    assert await tunnel.target.receive() == b""
    await tunnel.target.send(b"a long answer after the half-close")
    await tunnel.target.end()
    assert await receive_all(tunnel.client) == b"a long answer after the half-close"
    assert await tunnel.ending is Ending.COMPLETED
    assert tunnel.counts == (8, 34)


async def test_the_target_may_end_first() -> None:
    tunnel = Tunnel()
    await tunnel.target.send(b"banner")
    await tunnel.target.end()
    assert await receive_all(tunnel.client) == b"banner"
    await tunnel.client.send(b"upload")
    await tunnel.client.end()
    assert await receive_all(tunnel.target) == b"upload"
    assert await tunnel.ending is Ending.COMPLETED
    assert tunnel.counts == (6, 6)


async def test_both_may_end_at_once_without_a_byte() -> None:
    tunnel = Tunnel()
    await asyncio.gather(tunnel.client.end(), tunnel.target.end())
    assert await tunnel.ending is Ending.COMPLETED
    assert tunnel.counts == (0, 0)


async def test_a_lot_both_ways_at_once_arrives_unchanged_and_is_counted_exactly() -> None:
    tunnel = Tunnel(capacity=10_000, chunk=cycle(1, 5000, 77, 10_000))
    up, down = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(2_000_001)

    async def send(stream: MemoryStream, data: bytes) -> None:
        await stream.send(data)
        await stream.end()

    _, _, at_client, at_target = await asyncio.gather(
        send(tunnel.client, up), send(tunnel.target, down), receive_all(tunnel.client), receive_all(tunnel.target)
    )
    assert await tunnel.ending is Ending.COMPLETED
    assert hashlib.sha256(at_target).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(at_client).digest() == hashlib.sha256(down).digest()
    assert tunnel.counts == (3_000_000, 2_000_001)


@pytest.mark.parametrize("who", ["client", "target"])
@pytest.mark.parametrize("moment", ["at once", "after bytes", "half-closed"])
async def test_a_reset_ends_the_relay_and_names_the_side(who: str, moment: str) -> None:
    tunnel = Tunnel()
    breaking, other = (tunnel.client, tunnel.target) if who == "client" else (tunnel.target, tunnel.client)
    if moment == "after bytes":
        await breaking.send(b"some")
        assert await other.receive() == b"some"
    if moment == "half-closed":
        await other.end()
        assert await breaking.receive() == b""
    breaking.abort()
    assert await tunnel.ending is (Ending.CLIENT_RESET if who == "client" else Ending.TARGET_RESET)
    # Both near sides are left open for the caller, who aborts them so that the cut shows.
    assert not tunnel.near_client.is_closed
    assert not tunnel.near_target.is_closed
    assert not tunnel.near_client.was_aborted


@pytest.mark.parametrize("who", ["client", "target"])
async def test_a_side_that_breaks_while_it_is_written_to_is_the_one_that_is_named(who: str) -> None:
    tunnel = Tunnel(capacity=1000)
    breaking, other = (tunnel.client, tunnel.target) if who == "client" else (tunnel.target, tunnel.client)
    flooding = spawn("flood", other.send(b"x" * 100_000))
    await settled()
    breaking.abort()
    assert await tunnel.ending is (Ending.CLIENT_RESET if who == "client" else Ending.TARGET_RESET)
    other.abort()
    with pytest.raises(StreamReset):
        await flooding


async def test_a_silent_tunnel_ends_after_the_idle_time() -> None:
    assert await Tunnel(idle=0.05).ending is Ending.IDLE


async def test_bytes_in_either_direction_keep_a_tunnel_alive() -> None:
    tunnel = Tunnel(idle=0.6)
    loop = asyncio.get_running_loop()
    start = loop.time()
    while loop.time() < start + 0.9:
        await tunnel.target.send(b"x")
        assert await tunnel.client.receive() == b"x"
        await asyncio.sleep(0.05)
    assert not tunnel.ending.done()
    await cancel(tunnel.ending)


async def test_a_half_closed_tunnel_has_a_time_of_its_own() -> None:
    tunnel = Tunnel(half_closed=0.05)
    await tunnel.client.end()
    assert await tunnel.target.receive() == b""
    assert await tunnel.ending is Ending.IDLE


async def test_the_half_closed_time_begins_with_the_half_close() -> None:
    """A client that ends its question late, after the target has thought for long, still gets the answer."""
    tunnel = Tunnel(half_closed=0.3)
    await settled()
    tunnel.traffic.last -= 1  # nothing was carried for a second
    await tunnel.client.end()
    assert await tunnel.target.receive() == b""
    await settled()
    assert not tunnel.ending.done()
    await tunnel.target.send(b"answer")
    await tunnel.target.end()
    assert await receive_all(tunnel.client) == b"answer"
    assert await tunnel.ending is Ending.COMPLETED


async def test_a_peer_that_never_reads_bounds_what_is_taken_from_the_other_and_ends_as_idle() -> None:
    tunnel = Tunnel(idle=0.2, capacity=50_000)
    flooding = spawn("flood", tunnel.client.send(b"x" * 50_000_000))
    assert await tunnel.ending is Ending.IDLE
    assert tunnel.client.sent < 400_000
    assert tunnel.traffic.up <= 100_000
    await cancel(flooding)


async def test_the_other_direction_flows_beside_a_peer_that_does_not_read() -> None:
    tunnel = Tunnel(capacity=10_000)
    flooding = spawn("flood", tunnel.client.send(b"x" * 1_000_000))
    for number in range(100):
        await tunnel.target.send(b"%d" % number)
        assert await tunnel.client.receive() == b"%d" % number
    await cancel(flooding, tunnel.ending)


async def test_a_cancelled_relay_stops_both_directions_and_keeps_its_counts() -> None:
    tunnel = Tunnel()
    await tunnel.client.send(b"four")
    assert await tunnel.target.receive() == b"four"
    await until(lambda: tunnel.traffic.up == 4)
    await cancel(tunnel.ending)
    assert tunnel.counts == (4, 0)
    await tunnel.client.send(b"more")
    await settled()
    assert tunnel.counts == (4, 0)
    assert {task.get_name() for task in asyncio.all_tasks()} & {"relay up", "relay down"} == set()
