"""Channels of Arc Proxy at a gateway node: one tunnel after the other, handed over when they are bulk."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.verdicts import EndReason
from arcgate.gateway.sessions import Timeouts
from arcgate.net.channel import ChannelTunnel
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import spawn
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.connect import HAND_OVER_FIELD
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from worlds.authority import Authority
from worlds.gateway_node import GatewayNode, connect_request, gateway_node, read_head, target
from worlds.sockets import echo
from worlds.waiting import until

pytestmark = pytest.mark.anyio

OFFER = {FRAMES_FIELD: FRAMES_VERSION, HAND_OVER_FIELD: "idle"}


@pytest.fixture(params=["off", "idle", "early"])
def mode(request: pytest.FixtureRequest) -> HandOverMode:
    """What the node is set to: everything about channels holds with hand-over and without."""
    return HandOverMode(request.param)


@pytest.fixture
async def node(authority: Authority, tmp_path: Path, mode: HandOverMode) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path, hand_over=HandOverPolicy(mode)) as running:
        yield running


def offer(authority: str, **fields: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields or OFFER).items())
    return connect_request(authority).removesuffix(b"\r\n") + lines.encode() + b"\r\n"


async def open_on(channel: TlsStream, authority: str) -> ChannelTunnel:
    """CONNECT on a channel; return the tunnel."""
    await channel.send(offer(authority))
    head, rest = await read_head(channel)
    assert head.status == 200
    assert head.first(FRAMES_FIELD.lower()) == FRAMES_VERSION
    return ChannelTunnel(channel, rest, may_hand_over=bool(head.first(HAND_OVER_FIELD.lower())))


async def talk(tunnel: ByteStream, words: bytes) -> None:
    await tunnel.send(words)
    await tunnel.end()
    heard = b""
    while data := await tunnel.receive():
        heard += data
    assert heard == words


async def test_one_channel_carries_one_tunnel_after_the_other(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        channel = await node.enrol().open()
        for number in range(5):
            tunnel = await open_on(channel, f"127.0.0.1:{port}")
            await talk(tunnel, f"words of tunnel {number}".encode())
            assert tunnel.is_reusable
        await channel.end()
        await channel.close()
    await node.wait_for_record(Event.END, 5)
    ids = {record.tunnel_id for record in node.records(Event.START)}
    assert len(ids) == 5
    assert ids == {record.tunnel_id for record in node.records(Event.END)}


async def test_a_node_that_stops_lets_go_of_channels_that_carry_nothing_and_of_others_after_their_tunnel(
    node: GatewayNode,
) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        machine = node.enrol()
        idle, busy = await machine.open(), await machine.open()
        await talk(await open_on(idle, f"127.0.0.1:{port}"), b"before")
        running = await open_on(busy, f"127.0.0.1:{port}")
        node.sessions.drain()
        stopping = spawn("stop", node.listener.stop(60))
        async with asyncio.timeout(20):
            with pytest.raises(StreamReset):
                await idle.receive()
            await talk(running, b"still carried")
            await stopping
        assert running.is_reusable
        for channel in (idle, busy):
            await channel.close()


async def test_each_tunnel_of_a_channel_is_decided_anew(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        channel = await client.open()
        await talk(await open_on(channel, f"127.0.0.1:{port}"), b"allowed")
        await until(lambda: len(node.open_tunnels) == 0)  # or the change would cut the tunnel that is just ending
        node.publish_machine(client.machine_id, gateway=None)
        await channel.send(offer(f"127.0.0.1:{port}"))
        head, _ = await read_head(channel)
        assert (head.status, head.first("arcgate-reason")) == (403, "not_associated")
        await channel.close()


async def test_a_client_that_offers_nothing_gets_plain_bytes(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        channel = await node.enrol().open()
        await channel.send(offer(f"127.0.0.1:{port}", X_Other="1"))
        head, rest = await read_head(channel)
        assert head.first(FRAMES_FIELD.lower()) == ""
        assert rest == b""
        await talk(channel, b"\x00\x00\x00\x01")
        await channel.close()


async def test_bulk_of_inner_tls_1_3_is_carried_whole_and_handed_over_unless_off(
    node: GatewayNode, authority: Authority, mode: HandOverMode
) -> None:
    context = server_context(*authority.issue("inner.test"))
    payload = bytes(range(256)) * 8_000

    async def secure_echo(stream: ByteStream) -> None:
        inner = TlsStream(stream, context, server_side=True)
        await inner.handshake()
        while data := await inner.receive():
            await inner.send(data)
        await inner.end()
        await stream.end()

    async with target(secure_echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await open_on(await node.enrol().open(), f"127.0.0.1:{port}")
        trust = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
        inner = TlsStream(tunnel, trust, server_side=False, server_hostname="inner.test")
        await inner.handshake()

        async def upload() -> None:
            await inner.send(payload)
            await inner.end()

        async def download() -> bytes:
            heard = b""
            while data := await inner.receive():
                heard += data
            return heard

        heard, _ = await asyncio.gather(download(), upload())
        assert heard == payload
        assert tunnel.peer_went_raw is (mode is not HandOverMode.OFF)
        await tunnel.end()
        assert await tunnel.receive() == b""
        await tunnel.close()
        end = await node.wait_for_record(Event.END)
    assert end.reason == EndReason.COMPLETED
    assert end.bytes_up is not None
    assert end.bytes_up > len(payload)
    assert end.handed_over is (mode is not HandOverMode.OFF)


@pytest.mark.parametrize(
    ("of_node", "of_gateway", "offered", "agreed"),
    [
        ("early", {}, "early", "early"),
        ("early", {}, "bulk", "bulk"),
        ("idle", {}, "early", "idle"),
        ("early", {"handOver": "bulk"}, "early", "bulk"),
        ("bulk", {"handOver": "early"}, "early", "bulk"),
        ("early", {"handOver": "off"}, "early", ""),
        ("off", {"handOver": "early"}, "early", ""),
        ("early", {}, "off", ""),
        ("early", {}, "sometimes", ""),
    ],
)
async def test_the_strictest_of_node_gateway_and_machine_is_agreed_on(
    authority: Authority, tmp_path: Path, of_node: str, of_gateway: dict[str, str], offered: str, agreed: str
) -> None:
    policy = HandOverPolicy(HandOverMode(of_node))
    async with gateway_node(authority, tmp_path, hand_over=policy) as node, target(echo) as port:
        node.publish_gateway(**of_gateway)
        node.publish_endpoints(f"127.0.0.1:{port}")
        channel = await node.enrol().open()
        await channel.send(offer(f"127.0.0.1:{port}", **{FRAMES_FIELD: FRAMES_VERSION, HAND_OVER_FIELD: offered}))
        head, _ = await read_head(channel)
        await channel.close()
        assert head.status == 200
        assert head.first(HAND_OVER_FIELD.lower()) == agreed


async def test_an_idle_channel_of_a_machine_ends_without_a_word(authority: Authority, tmp_path: Path) -> None:
    timeouts = Timeouts(channel_idle=0.2)
    async with gateway_node(authority, tmp_path, timeouts=timeouts) as node:
        channel = await node.enrol().open()
        with pytest.raises(StreamReset):
            await channel.receive()
        await channel.close()
        assert node.records() == []


async def test_garbage_instead_of_frames_cuts_the_tunnel(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        channel = await node.enrol().open()
        await open_on(channel, f"127.0.0.1:{port}")
        await channel.send(b"\xff\xff\xff\xffgarbage")
        with pytest.raises(StreamReset):
            await channel.receive()
        await channel.close()
        assert (await node.wait_for_record(Event.END)).reason == EndReason.CLIENT_RESET
