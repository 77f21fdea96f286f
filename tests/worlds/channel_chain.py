"""Both ends of a channel in one process: client → near relay → TLS channel → far relay → target, on real sockets."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arcgate.core.errors import Hop as FailedHop
from arcgate.core.names import parse_target
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import connect_through
from arcgate.net.pace import Meter
from arcgate.net.relay import Ending, HandOver, Traffic, relay
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream, server_context
from worlds.authority import Authority

NAME = "gateway.test"
HELD_END_SILENCE = 0.5
"""Seconds without a byte after which the far side sends its end where there is a proxy."""
HELD_END = 30.0
"""Seconds that the end of a raw direction is held back where there is a proxy."""


@dataclass
class Hop:
    """One relay with what it has to tell."""

    traffic: Traffic = field(default_factory=Traffic)
    ending: Ending | None = None
    channel: ChannelTunnel | None = None
    task: "asyncio.Task[None] | None" = None


@dataclass
class Chain:
    """The client's and the target's ends, and both relays."""

    client: SocketStream
    target: SocketStream
    near: Hop
    far: Hop

    async def ended(self) -> tuple[Ending | None, Ending | None]:
        """Wait for both relays and return how they ended."""
        assert self.near.task is not None
        assert self.far.task is not None
        async with asyncio.timeout(20):
            await asyncio.gather(self.near.task, self.far.task)
        return self.near.ending, self.far.ending


def _pair() -> tuple[SocketStream, SocketStream]:
    """Return two connected TCP streams."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return SocketStream(one), SocketStream(other)


async def _pair_through(proxy_port: int) -> tuple[ByteStream, SocketStream]:
    """Return two TCP streams with an enterprise proxy between them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        near = SocketStream(socket.create_connection(("127.0.0.1", proxy_port)))
        where = parse_target(f"127.0.0.1:{listening.getsockname()[1]}")
        accepting = spawn("accept", asyncio.get_running_loop().sock_accept(listening))
        try:
            tunnel, _ = await connect_through(near, where, 20, hop=FailedHop.PROXY, via="the proxy")
            far, _ = await accepting
        except BaseException:
            await cancel(accepting)
            await near.close()
            raise
    return tunnel, SocketStream(far)


async def channel_pair(authority: Authority, proxy_port: int = 0) -> tuple[TlsStream, TlsStream]:
    """Return both ends of a TLS 1.3 connection on loopback, through an enterprise proxy if one is given."""
    near, far = await _pair_through(proxy_port) if proxy_port else _pair()
    chain, key = authority.issue(NAME)
    context = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
    client = TlsStream(near, context, server_side=False, server_hostname=NAME)
    server = TlsStream(far, server_context(chain, key), server_side=True)
    await asyncio.gather(client.handshake(), server.handshake())
    return client, server


async def _run(hop: Hop, client: ByteStream, target: ByteStream, hand_over: HandOver | None) -> None:
    hop.ending = await relay(client, target, hop.traffic, idle_timeout=20, half_closed_timeout=20, hand_over=hand_over)
    for stream in (client, target):
        if hop.ending is Ending.COMPLETED:
            await stream.close()
        else:
            stream.abort()


@asynccontextmanager
async def channel_chain(
    authority: Authority,
    *,
    near_hand_over: bool = True,
    far_hand_over: bool = True,
    after: int = 65_536,
    idle: float = 60,
    proxy_port: int = 0,
    far_meter: Meter | None = None,
) -> AsyncIterator[Chain]:
    """Run a chain; each side hands over when it may and `after` bytes have passed, or
    `idle` seconds without one. With a proxy, both sides hold their ends as Arc Proxy and gateway do.
    `far_meter` sees what the far side carries."""
    near_tls, far_tls = await channel_pair(authority, proxy_port)
    client, near_socket = _pair()
    far_socket, target = _pair()
    agreed = near_hand_over and far_hand_over
    near, far = Hop(), Hop(Traffic(meter=far_meter))
    near.channel = ChannelTunnel(near_tls, b"", may_hand_over=agreed, hold_end=HELD_END if proxy_port else 0)
    far.channel = ChannelTunnel(
        far_tls, b"", may_hand_over=agreed, hold_end=HELD_END_SILENCE if proxy_port else 0, in_silence=True
    )
    near.task = spawn("near", _run(near, near_socket, near.channel, HandOver(after, idle) if agreed else None))
    far.task = spawn("far", _run(far, far.channel, far_socket, HandOver(after, idle) if agreed else None))
    try:
        yield Chain(client, target, near, far)
    finally:
        await cancel(near.task, far.task)
        for stream in (client, target, near_socket, far_socket, near_tls, far_tls):
            await stream.close()


async def converse(stream: ByteStream, sends: bytes, pieces: random.Random) -> bytes:
    """Send everything in pieces of random size, then end, while taking all that comes; return it."""

    async def send() -> None:
        position = 0
        while position < len(sends):
            size = pieces.choice((1, 7, 1_000, 16_384, 100_000, 500_000))
            await stream.send(sends[position : position + size])
            position += size
        await stream.end()

    async def receive() -> bytes:
        taken = bytearray()
        while data := await stream.receive():
            taken += data
        return bytes(taken)

    _, taken = await asyncio.gather(send(), receive())
    return taken
