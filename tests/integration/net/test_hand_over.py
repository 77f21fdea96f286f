"""Hand-over with real TLS on the inside: not a byte wrong, whatever the sizes, and only where it may be."""

import asyncio
import math
import random
import socket
import ssl

import pytest

from arcgate.net.channel import ChannelTunnel
from arcgate.net.relay import Ending
from arcgate.net.silence import silence_of
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.authority import Authority
from worlds.channel_chain import Chain, channel_chain, channel_pair, converse
from worlds.waiting import until

pytestmark = pytest.mark.anyio

INNER = "target.test"


async def inner_tls(
    chain: Chain, authority: Authority, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[TlsStream, TlsStream]:
    """Return client's and target's ends of a TLS session through the chain."""
    certificate, key = authority.issue(INNER)
    context = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
    context.maximum_version = version
    client = TlsStream(chain.client, context, server_side=False, server_hostname=INNER)
    target = TlsStream(chain.target, server_context(certificate, key), server_side=True)
    await asyncio.gather(client.handshake(), target.handshake())
    return client, target


async def exchange(client: ByteStream, target: ByteStream, up: int, down: int, seed: int) -> None:
    """Send random bytes both ways at once and compare."""
    dice = random.Random(seed)
    sent_up, sent_down = dice.randbytes(up), dice.randbytes(down)
    got_down, got_up = await asyncio.gather(
        converse(client, sent_up, random.Random(seed)), converse(target, sent_down, random.Random(seed + 1))
    )
    assert got_up == sent_up
    assert got_down == sent_down


async def test_an_end_that_goes_by_silence_is_held_while_the_peer_sends(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter((0.0, 0.004, 0.0))  # as the peer's bytes come
    monkeypatch.setattr("arcgate.net.channel.silence_of", lambda _socket: next(told, math.inf))
    near_tls, far_tls = await channel_pair(authority)
    near = ChannelTunnel(near_tls, b"", may_hand_over=True)
    far = ChannelTunnel(far_tls, b"", may_hand_over=True, hold_end=0.01, in_silence=True)
    far.go_raw()
    await far.send(b"last words")
    await far.end()
    assert await near.receive() == b"last words"
    assert await near.receive() == b""
    assert next(told, None) is None
    await near.close()
    await far.close()


async def test_a_held_end_is_forgotten_with_its_socket(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def look(one: socket.socket) -> float:
        found.append(silence_of(one))
        return found[-1]

    monkeypatch.setattr("arcgate.net.channel.silence_of", look)
    near_tls, far_tls = await channel_pair(authority)
    far = ChannelTunnel(far_tls, b"", may_hand_over=True, hold_end=0.001, in_silence=True)
    far.go_raw()
    await far.end()
    await far_tls.close()  # as a session's end does, which knows nothing of the tunnel's
    await until(lambda: found == [math.inf])
    await near_tls.close()


@pytest.mark.parametrize("after", [0, 65_536, 1_000_000])
@pytest.mark.parametrize("seed", range(8))
async def test_every_byte_arrives_when_both_directions_are_busy(authority: Authority, after: int, seed: int) -> None:
    sizes = random.Random(seed)
    up, down = (sizes.choice((0, 1, 1_000, 70_000, 3_000_000)) for _ in range(2))
    async with channel_chain(authority, after=after) as chain:
        client, target = await inner_tls(chain, authority)
        await exchange(client, target, up, down, seed)
        # The inner sessions have ended by close_notify; the tunnel ends when both sides close.
        await chain.client.end()
        await chain.target.end()
        assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)
        assert chain.near.traffic.up == chain.far.traffic.up
        assert chain.near.traffic.down == chain.far.traffic.down


async def test_bulk_over_tls_1_3_leaves_the_channel_s_tls_on_both_hops(authority: Authority) -> None:
    async with channel_chain(authority) as chain:
        client, target = await inner_tls(chain, authority)
        await exchange(client, target, 2_000_000, 2_000_000, 1)
        assert chain.near.channel is not None
        assert chain.far.channel is not None
        assert chain.near.channel.raw_sink is not None
        assert chain.far.channel.raw_sink is not None
        assert not chain.near.channel.is_reusable


async def test_a_small_tunnel_stays_in_frames_and_gives_its_channel_back(authority: Authority) -> None:
    async with channel_chain(authority) as chain:
        client, target = await inner_tls(chain, authority)
        await exchange(client, target, 1000, 1000, 1)
        await chain.client.end()
        await chain.target.end()
        await chain.ended()
        assert chain.near.channel is not None
        assert chain.far.channel is not None
        assert chain.near.channel.is_reusable
        assert chain.far.channel.is_reusable


async def test_tls_1_2_is_never_handed_over(authority: Authority) -> None:
    async with channel_chain(authority, after=0) as chain:
        client, target = await inner_tls(chain, authority, ssl.TLSVersion.TLSv1_2)
        await exchange(client, target, 500_000, 500_000, 1)
        assert chain.near.channel is not None
        assert chain.far.channel is not None
        assert not chain.near.channel.was_handed_over
        assert not chain.far.channel.was_handed_over


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x17\x03\x03\x00\x05hello", b"\x00" * 10])
async def test_what_is_no_tls_session_is_never_handed_over(authority: Authority, greeting: bytes) -> None:
    async with channel_chain(authority, after=0) as chain:
        await chain.client.send(greeting)
        dice = random.Random(1)
        sent = dice.randbytes(200_000)
        taken, back = await asyncio.gather(converse(chain.target, sent, dice), converse(chain.client, sent, dice))
        assert taken == greeting + sent
        assert back == sent
        assert chain.near.channel is not None
        assert not chain.near.channel.was_handed_over


async def test_without_the_agreement_of_both_nothing_is_handed_over(authority: Authority) -> None:
    async with channel_chain(authority, after=0, far_hand_over=False) as chain:
        client, target = await inner_tls(chain, authority)
        await exchange(client, target, 300_000, 300_000, 1)
        assert chain.near.channel is not None
        assert not chain.near.channel.was_handed_over


async def test_half_closes_stay_exact_after_the_hand_over(authority: Authority) -> None:
    async with channel_chain(authority) as chain:
        client, target = await inner_tls(chain, authority)
        await asyncio.gather(client.send(bytes(500_000)), _take(target, 500_000))
        await client.end()
        await chain.client.end()
        assert await target.receive() == b""
        assert await chain.target.receive() == b""
        download = random.Random(3).randbytes(500_000)
        received, _ = await asyncio.gather(_take_all(client), _send_and_end(target, download))
        assert received == download
        await chain.target.end()
        assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)


async def test_a_reset_after_the_hand_over_is_a_visible_cut(authority: Authority) -> None:
    async with channel_chain(authority) as chain:
        client, target = await inner_tls(chain, authority)
        await asyncio.gather(client.send(bytes(500_000)), _take(target, 500_000))
        chain.target.abort()
        near, far = await chain.ended()
        assert (near, far) != (Ending.COMPLETED, Ending.COMPLETED)


async def test_an_idle_tunnel_of_tls_1_3_is_handed_over_and_goes_on_unchanged(authority: Authority) -> None:
    async with channel_chain(authority, idle=0.05) as chain:
        client, target = await inner_tls(chain, authority)
        await asyncio.gather(client.send(b"a few bytes"), _take(target, 11))
        await asyncio.gather(target.send(b"and back"), _take(client, 8))
        near, far = chain.near.channel, chain.far.channel
        assert near is not None
        assert far is not None
        await until(lambda: near.raw_sink is not None and near.peer_went_raw and far.raw_sink is not None)
        await exchange(client, target, 300_000, 200_000, 5)
        await chain.client.end()
        await chain.target.end()
        assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)


async def test_an_idle_tunnel_that_is_no_tls_is_left_in_its_frames(authority: Authority) -> None:
    async with channel_chain(authority, idle=0.05) as chain:
        await asyncio.gather(chain.client.send(b"SSH-2.0-x\r\n"), _take(chain.target, 11))
        await asyncio.sleep(1.2)  # longer than the pause between two looks
        assert chain.near.channel is not None
        assert not chain.near.channel.was_handed_over
        await chain.client.end()
        await chain.target.end()
        assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)


@pytest.mark.parametrize("harm", ["flip", "inject", "cut", "replay"])
async def test_bytes_that_are_tampered_with_on_the_way_end_the_inner_session(authority: Authority, harm: str) -> None:
    """What a direction carries raw is the inner session's own to protect: it must notice, whatever is done."""
    async with channel_chain(authority, after=0) as chain:
        client, target = await inner_tls(chain, authority)
        await exchange_some(client, target)
        assert chain.near.channel is not None
        assert chain.near.channel.raw_sink is not None
        record = bytearray()
        await retap(client, TappedStream(chain.client, record)).send(b"x" * 1000)
        if harm == "flip":
            record[-5] ^= 1
        elif harm == "inject":
            record[:0] = b"\x17\x03\x03\x00\x20" + bytes(32)
        elif harm == "replay":
            record += bytes(record)
        else:
            del record[-3:]
        await chain.client.send(bytes(record))
        if harm == "cut":
            await chain.client.end()
        with pytest.raises(StreamReset):
            await _take_all(target)


class TappedStream:
    """Keeps what is sent instead of sending it."""

    def __init__(self, inner: ByteStream, kept: bytearray) -> None:
        self._inner = inner
        self._kept = kept

    @property
    def peer(self) -> str:
        return self._inner.peer

    async def receive(self) -> bytes:
        return await self._inner.receive()

    async def send(self, data: bytes) -> None:
        self._kept += data

    async def end(self) -> None:
        await self._inner.end()

    def abort(self) -> None:
        self._inner.abort()

    async def close(self) -> None:
        await self._inner.close()


def retap(stream: TlsStream, carrier: ByteStream) -> TlsStream:
    """Return the session with another carrier below it."""
    stream._inner = carrier
    return stream


async def exchange_some(client: ByteStream, target: ByteStream) -> None:
    """Carry enough for both directions to be handed over."""
    for _ in range(3):
        await asyncio.gather(client.send(bytes(1000)), _take(target, 1000))
        await asyncio.gather(target.send(bytes(1000)), _take(client, 1000))


async def _send_and_end(stream: ByteStream, data: bytes) -> None:
    await stream.send(data)
    await stream.end()


async def _take_all(stream: ByteStream) -> bytes:
    taken = b""
    while data := await stream.receive():
        taken += data
    return taken


async def _take(stream: ByteStream, size: int) -> None:
    while size > 0:
        size -= len(await stream.receive())
