"""Ends of handed-over tunnels through Arc Proxy, a real Squid and a gateway node: no end cuts the other direction."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.net.streams import ByteStream
from arcgate.net.tls import TlsStream, server_context
from worlds.agent_machine import AgentMachine, address, agent_machine
from worlds.authority import Authority
from worlds.gateway_node import NAME as GATEWAY
from worlds.gateway_node import GatewayNode, gateway_node, target
from worlds.loopback_squid import loopback_squid

pytestmark = pytest.mark.anyio

NAME = "target.example"
LAST = bytes(300_000)


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    early = HandOverPolicy(HandOverMode.EARLY)
    async with gateway_node(authority, tmp_path, hand_over=early) as running:
        running.resolver.addresses[NAME] = [address("127.0.0.1")]
        yield running


@pytest.fixture
async def machine(node: GatewayNode, authority: Authority, tmp_path: Path) -> AsyncIterator[AgentMachine]:
    (tmp_path / "squid").mkdir()
    async with loopback_squid(tmp_path / "squid") as squid, agent_machine(tmp_path / "machine", authority) as one:
        one.enrol(node)
        one.set(proxy_url=f"http://127.0.0.1:{squid}", arcproxy_handover="early")
        yield one


async def take_all(stream: ByteStream) -> bytes:
    taken = b""
    while data := await stream.receive():
        taken += data
    return taken


async def test_what_a_client_still_sends_after_the_targets_end_arrives(
    machine: AgentMachine, node: GatewayNode, authority: Authority
) -> None:
    context = server_context(*authority.issue(NAME))
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def end_first(raw: ByteStream) -> None:
        inner = TlsStream(raw, context, server_side=True)
        await inner.handshake()
        await inner.receive()
        await inner.send(b"enough")
        await inner.end()
        await raw.end()
        taken.set_result(await take_all(inner))

    async with target(end_first) as port:
        node.publish_endpoints(f"{NAME}:{port}")
        machine.set_goal(f"{NAME}:{port}", port=node.port, host=GATEWAY)
        client, _ = await machine.tunnel(f"{NAME}:{port}")
        own = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
        inner = TlsStream(client, own, server_side=False, server_hostname=NAME)
        await inner.handshake()
        await inner.send(b"tell me")
        assert await take_all(inner) == b"enough"
        await inner.send(LAST)
        await inner.end()
        await client.end()
        async with asyncio.timeout(20):
            assert await taken == LAST
        record = await node.wait_for_record(Event.END)
        await client.close()
    assert (record.reason, record.handed_over) == ("completed", True)
