"""Java's and Go's own TLS through the real Arc Proxy and gateway, with hand-over and without it: bytes exact, each
direction ended by itself, sessions resumed, and nothing but TLS 1.3 handed over."""

import asyncio
import hashlib
import random
import ssl
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tls import TlsStream, server_context
from worlds.agent_machine import AgentMachine, address, agent_machine, target
from worlds.authority import Authority
from worlds.gateway_node import NAME as GATEWAY
from worlds.gateway_node import GatewayNode, gateway_node
from worlds.runtime_peers import RUNTIMES, RuntimePeer, build_peer
from worlds.tls_stacks import running

pytestmark = pytest.mark.anyio

NAME = "inner.example.com"
SIZE = 400_000
"""Bytes each way: enough for a hand-over of both directions in the middle."""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
ORDERS = {"1.2": ("before", "before"), "1.3": ("before", "after", "together")}
"""When the client sends. With TLS 1.2 who hears the end of the other direction may end its own at once."""


@pytest.fixture(scope="module", params=RUNTIMES)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RuntimePeer:
    return build_peer(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(params=["idle", "off"])
async def way(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> AsyncIterator["Way"]:
    mode = HandOverMode(request.param)
    async with (
        gateway_node(authority, tmp_path, hand_over=HandOverPolicy(mode)) as node,
        agent_machine(tmp_path / "machine", authority) as machine,
    ):
        node.take_in(machine.paths)
        node.resolver.addresses[NAME] = [address("127.0.0.1")]
        yield Way(machine, node, mode)


@dataclass
class Way:
    """Arc Proxy and gateway with what they agree on."""

    machine: AgentMachine
    node: GatewayNode
    mode: HandOverMode

    def lead_to(self, port: int) -> str:
        where = f"{NAME}:{port}"
        self.node.publish_endpoints(where)
        self.machine.set_goal(where, port=self.node.port, host=GATEWAY)
        return where

    async def expect_end(self, count: int, version: str, carried: tuple[int, int]) -> None:
        record = await self.node.wait_for_record(Event.END, count)
        assert record.reason == "completed"
        assert (record.bytes_up, record.bytes_down) == carried
        assert record.handed_over is (version == "1.3" and self.mode is not HandOverMode.OFF)


class Counted:
    """A stream that knows what has passed."""

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner
        self.came = self.went = 0

    @property
    def peer(self) -> str:
        return self._inner.peer

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        self.came += len(data)
        return data

    async def send(self, data: bytes) -> None:
        await self._inner.send(data)
        self.went += len(data)

    async def end(self) -> None:
        await self._inner.end()

    def abort(self) -> None:
        self._inner.abort()

    async def close(self) -> None:
        await self._inner.close()


@dataclass
class Heard:
    """One side of a conversation, and what its socket has carried."""

    sent: str
    came: str
    is_resumed: bool
    bytes_in: int
    bytes_out: int


async def converse(tls: TlsStream, raw: Counted, order: str) -> Heard:
    """Send before the other side does, after it has ended, or at once with it; then wait for the end of the socket."""
    sent = random.randbytes(SIZE)

    async def send() -> None:
        await tls.send(sent)
        await tls.end()
        await raw.end()

    if order == "before":
        await send()
        came = await take_all(tls)
    elif order == "after":
        came = await take_all(tls)
        await send()
    else:
        came, _ = await asyncio.gather(take_all(tls), send())
    assert await raw.receive() == b""
    return Heard(digest(sent), digest(came), bool(tls.tls.session_reused), raw.came, raw.went)


async def take_all(stream: ByteStream) -> bytes:
    taken = bytearray()
    while data := await stream.receive():
        taken += data
    return bytes(taken)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def line_of(process: Process, folder: Path) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await process.stdout.readline()
    assert line, (folder / "errors").read_text()
    return line.decode().strip()


async def test_a_runtimes_client_gets_every_byte_each_direction_by_itself(
    way: Way, peer: RuntimePeer, authority: Authority, tmp_path: Path
) -> None:
    context = server_context(*authority.issue(NAME))
    opposite = {"before": "after", "after": "before", "together": "together"}
    orders: asyncio.Queue[str] = asyncio.Queue()
    heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def serve(stream: SocketStream) -> None:
        raw = Counted(stream)
        tls = TlsStream(raw, context, server_side=True)
        await tls.handshake()
        heard.put_nowait(await converse(tls, raw, opposite[orders.get_nowait()]))

    async with target(serve) as port:
        way.lead_to(port)
        command = peer.connecting(way.machine.port, NAME, port, authority.file)
        async with running(command, tmp_path) as client:
            assert client.stdin is not None
            count = 0
            for version, orders_of_version in ORDERS.items():
                for number, order in enumerate(orders_of_version):
                    orders.put_nowait(order)
                    client.stdin.write(f"{version} {order} {SIZE}\n".encode())
                    sent, came = (await line_of(client, tmp_path)).split(" ")
                    async with asyncio.timeout(30):
                        said = await heard.get()
                    assert (said.came, said.sent) == (sent, came)
                    assert said.is_resumed is (number > 0)
                    count += 1
                    await way.expect_end(count, version, (said.bytes_in, said.bytes_out))


async def test_a_runtimes_server_gets_every_byte_each_direction_by_itself(
    way: Way, peer: RuntimePeer, authority: Authority, tmp_path: Path
) -> None:
    command = peer.serving(*authority.issue(NAME), SIZE)
    async with running(command, tmp_path) as server, AsyncExitStack() as opened:
        where = way.lead_to(int(await line_of(server, tmp_path)))
        count = 0
        for version in VERSIONS:
            context = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
            context.minimum_version = context.maximum_version = VERSIONS[version]
            session: ssl.SSLSession | None = None
            for _ in range(2):
                stream, _ = await way.machine.tunnel(where)
                opened.push_async_callback(stream.close)
                raw = Counted(stream)
                tls = TlsStream(raw, context, server_side=False, server_hostname=NAME, session=session)
                await tls.handshake()
                async with asyncio.timeout(30):
                    said = await converse(tls, raw, "before" if version == "1.3" else "after")
                sent, came = (await line_of(server, tmp_path)).split(" ")
                assert (said.came, said.sent) == (sent, came)
                assert said.is_resumed is (session is not None)
                session = tls.tls.session
                count += 1
                await way.expect_end(count, version, (said.bytes_out, said.bytes_in))
