"""Bytes that the kernel carries from socket to socket."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from arcgate.net.splice import MOST_SPARE_PIPES, Splice, close_spare_pipes
from arcgate.net.streams import SinkReset, SocketStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from worlds.sockets import connected_sockets
from worlds.waiting import settled

pytestmark = pytest.mark.anyio


@dataclass
class Way:
    """One direction: what is sent on `far_source` comes out at `far_sink`."""

    far_source: SocketStream
    source: SocketStream
    sink: SocketStream
    far_sink: SocketStream
    sizes: list[int] = field(default_factory=list)

    def start(self) -> "asyncio.Task[None]":
        return spawn("splice", self._carry())

    async def _carry(self) -> None:
        splice = Splice(self.source, self.sink)
        try:
            while not splice.has_ended:
                if splice.carry(self.sizes.append):
                    await asyncio.sleep(0)
                elif splice.is_stuck:
                    await self.sink.readiness.writable()
                elif not splice.has_ended:
                    await self.source.readiness.readable()
        finally:
            splice.close()

    async def close(self) -> None:
        for stream in (self.far_source, self.source, self.sink, self.far_sink):
            await stream.close()


def make_way() -> Way:
    far_source, source = connected_sockets()
    sink, far_sink = connected_sockets()
    return Way(SocketStream(far_source), SocketStream(source), SocketStream(sink), SocketStream(far_sink))


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    made = make_way()
    yield made
    await made.close()
    close_spare_pipes()


async def test_everything_arrives_and_is_counted_until_the_source_ends(way: Way) -> None:
    data = random.Random(1).randbytes(20_000_000)
    carrying = way.start()

    async def send() -> None:
        await way.far_source.send(data)
        await way.far_source.end()

    sending = spawn("send", send())
    received = b""
    while len(received) < len(data):
        received += await way.far_sink.receive()
    await sending
    await carrying
    assert received == data
    assert sum(way.sizes) == len(data)
    # The end is the caller's to pass on.
    await way.sink.end()
    assert await way.far_sink.receive() == b""


async def test_small_pieces_arrive_as_they_come(way: Way) -> None:
    carrying = way.start()
    for number in range(200):
        await way.far_source.send(b"%d" % number)
        assert await way.far_sink.receive() == b"%d" % number
    await way.far_source.end()
    await carrying


async def test_a_source_that_breaks_is_told_apart_from_a_sink_that_does(way: Way) -> None:
    carrying = way.start()
    await settled()
    way.far_source.abort()
    with pytest.raises(StreamReset) as caught:
        await carrying
    assert not isinstance(caught.value, SinkReset)


async def test_a_sink_that_breaks_is_named(way: Way) -> None:
    carrying = way.start()
    flooding = spawn("flood", way.far_source.send(bytes(50_000_000)))
    await settled(200)
    assert not carrying.done()  # nobody reads: it waits
    way.far_sink.abort()
    with pytest.raises(SinkReset):
        await carrying
    await cancel(flooding)


async def test_what_a_slow_sink_has_taken_is_counted_when_the_rest_never_arrives(way: Way) -> None:
    carrying = way.start()
    flooding = spawn("flood", way.far_source.send(bytes(50_000_000)))
    await settled(200)
    assert not carrying.done()  # nobody reads: it waits, in the middle of what it has taken from the source
    await cancel(carrying, flooding)
    await way.sink.end()
    assert sum(way.sizes) == len(await read_all(way.far_sink))


async def test_an_idle_direction_holds_no_pipe_and_a_cancelled_one_leaves_none(way: Way) -> None:
    close_spare_pipes()
    before = pipes()
    carrying = way.start()
    await way.far_source.send(b"x")
    assert await way.far_sink.receive() == b"x"
    await settled()
    close_spare_pipes()
    assert pipes() == before
    flooding = spawn("flood", way.far_source.send(bytes(50_000_000)))
    await settled(200)
    await cancel(carrying, flooding)
    close_spare_pipes()
    assert pipes() == before


async def test_only_so_many_pipes_are_kept() -> None:
    close_spare_pipes()
    before = pipes()
    ways = [make_way() for _ in range(MOST_SPARE_PIPES + 8)]
    carrying = [way.start() for way in ways]
    for way in ways:
        await way.far_source.send(b"x")
    for way in ways:
        assert await way.far_sink.receive() == b"x"
        await way.far_source.end()
    await asyncio.gather(*carrying)
    assert pipes() - before <= 2 * MOST_SPARE_PIPES
    for way in ways:
        await way.close()
    close_spare_pipes()


async def read_all(stream: SocketStream) -> bytes:
    taken = bytearray()
    while data := await stream.receive():
        taken += data
    return bytes(taken)


def pipes() -> int:
    """Ends of pipes that this process holds."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum("pipe:" in os.readlink(link) for link in links if os.path.lexists(link))
