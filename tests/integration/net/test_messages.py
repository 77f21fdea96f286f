"""Pings on channels of messages: in silence, and only then."""

from collections.abc import AsyncIterator
from socket import socketpair
from typing import cast

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Event, Ping, Pong

from arcgate.net.messages import MessageStream
from arcgate.net.readiness import Readiness
from arcgate.net.streams import ByteStream, PromptStream, StreamReset
from arcgate.net.tls import TlsStream
from worlds.authority import Authority
from worlds.channel_chain import channel_pair

pytestmark = pytest.mark.anyio


class Peer:
    """The other end, message by message."""

    def __init__(self, tls: TlsStream) -> None:
        self.tls = tls
        self.protocol = Connection(ConnectionType.SERVER)

    async def events(self, count: int) -> list[Event]:
        """Return what comes next."""
        found: list[Event] = []
        while len(found) < count:
            self.protocol.receive_data(await self.tls.receive())
            found += self.protocol.events()
        return found

    async def send(self, data: bytes) -> None:
        await self.tls.send(self.protocol.send(BytesMessage(data=data)))


@pytest.fixture
async def ends(authority: Authority) -> AsyncIterator[tuple[MessageStream, Peer]]:
    near, far = await channel_pair(authority)
    stream = MessageStream(near, b"", is_client=True)
    yield stream, Peer(far)
    await stream.close()
    await far.close()


async def test_a_silent_channel_pings_again_and_again(ends: tuple[MessageStream, Peer]) -> None:
    stream, peer = ends
    stream.keep_alive(0.005)
    assert all(isinstance(event, Ping) for event in await peer.events(3))
    await peer.send(b"alive")
    assert await stream.receive() == b"alive"


async def test_a_channel_that_carries_both_ways_sends_no_pings(ends: tuple[MessageStream, Peer]) -> None:
    stream, peer = ends
    for _ in range(3):
        await stream.send(b"up")
        await peer.send(b"down")
        assert await stream.receive() == b"down"
        stream.ping_in_silence()
    await stream.send(b"last")
    assert {type(event) for event in await peer.events(4)} == {BytesMessage}


@pytest.mark.parametrize("is_up", [True, False])
async def test_one_silent_direction_is_silence(ends: tuple[MessageStream, Peer], is_up: bool) -> None:
    stream, peer = ends
    if is_up:
        await stream.send(b"up")
        assert isinstance((await peer.events(1))[0], BytesMessage)
    else:
        await peer.send(b"down")
        assert await stream.receive() == b"down"
    stream.ping_in_silence()
    assert isinstance((await peer.events(1))[0], Ping)


async def test_a_ping_is_answered_between_pieces_of_data(authority: Authority) -> None:
    near, far = await channel_pair(authority)
    client, server = MessageStream(near, b"", is_client=True), MessageStream(far, b"", is_client=False)
    client.ping_in_silence()
    await client.send(b"up")
    assert await server.receive() == b"up"
    await server.send(b"down")
    raw = Connection(ConnectionType.CLIENT)
    raw.receive_data(await near.receive())
    assert isinstance(next(iter(raw.events())), Pong)
    await client.close()
    await server.close()


class SlowStream(PromptStream):
    """A stream whose socket takes nothing for a while; what a kernel takes in when is up to the kernel."""

    def __init__(self) -> None:
        self.is_stuck = True
        self.taken: list[bytes] = []
        self.near, self.far = socketpair()
        self.own_readiness = Readiness(self.near.fileno())

    @property
    def readiness(self) -> Readiness:
        return self.own_readiness

    def send_now(self, data: bytes) -> bool:
        self.taken.append(data)
        return self.flush_now()

    def flush_now(self) -> bool:
        return not self.is_stuck

    def close(self) -> None:
        self.own_readiness.close()
        self.near.close()
        self.far.close()


async def test_what_is_still_to_be_sent_is_as_good_as_a_ping() -> None:
    slow = SlowStream()
    stream = MessageStream(cast("ByteStream", slow), b"", is_client=True)
    assert not stream.send_now(b"data")
    for _ in range(3):
        stream.ping_in_silence()
    assert len(slow.taken) == 1
    slow.is_stuck = False
    stream.ping_in_silence()
    assert len(slow.taken) == 2
    slow.close()


async def test_a_broken_channel_stops_to_ping(ends: tuple[MessageStream, Peer]) -> None:
    stream, peer = ends
    peer.tls.abort()
    stream.keep_alive(0.001)
    with pytest.raises(StreamReset):
        await take_all(stream)


async def take_all(stream: MessageStream) -> None:
    while await stream.receive():
        pass
