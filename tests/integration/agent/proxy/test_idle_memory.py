"""What a tunnel owns that nobody uses and that was handed over: counted, not measured, so that nothing else matters."""

import asyncio
import gc
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.net.streams import SocketStream, close_gently
from worlds.agent_machine import AgentMachine, address, agent_machine, target
from worlds.authority import Authority
from worlds.gateway_node import NAME as GATEWAY
from worlds.gateway_node import GatewayNode, gateway_node
from worlds.waiting import until

pytestmark = pytest.mark.anyio

NAME = "target.example"
TUNNELS = 25
MOST = 14_500
"""Bytes of Python's objects that a tunnel may own at Arc Proxy, gateway and the test's two ends, which have 3,900."""

CLIENT_HELLO = bytes((22, 3, 3, 0, 47, 1, 0, 0, 43, 3, 3, *bytes(32), 0, 0, 2, 19, 1, 1, 0, 0, 0))
SERVER_HELLO = bytes((22, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3, *bytes((1,) * 32), 0, 19, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4))
RECORD = bytes((23, 3, 3, 0, 8)) + b"finished"


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path, hand_over=HandOverPolicy(HandOverMode.EARLY)) as running:
        running.resolver.addresses[NAME] = [address("127.0.0.1")]
        yield running


@pytest.fixture
async def machine(node: GatewayNode, authority: Authority, tmp_path: Path) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path / "machine", authority) as one:
        one.enrol(node)
        one.set(arcproxy_handover="early", arcproxy_channels=0)
        yield one


async def greet(raw: SocketStream) -> None:
    await raw.receive()
    await raw.send(SERVER_HELLO + RECORD)
    while await raw.receive():
        pass


async def open_tunnel(machine: AgentMachine, port: int) -> SocketStream:
    """Return a client past the handshake of a TLS 1.3 that only looks like one."""
    client, _ = await machine.tunnel(f"{NAME}:{port}")
    await client.send(CLIENT_HELLO)
    received = b""
    while len(received) < len(SERVER_HELLO + RECORD):
        received += await client.receive()
    await client.send(RECORD)
    return client


def tls_states() -> int:
    gc.collect()
    return sum(isinstance(one, ssl.SSLObject) for one in gc.get_objects())


async def test_an_idle_tunnel_that_was_handed_over_owns_little(machine: AgentMachine, node: GatewayNode) -> None:
    async with target(greet) as port:
        node.publish_endpoints(f"{NAME}:{port}")
        machine.set_goal(f"{NAME}:{port}", port=node.port, host=GATEWAY)
        clients = [await open_tunnel(machine, port) for _ in range(5)]  # what is made once is there from now on
        await until(lambda: tls_states() == 0)
        tracemalloc.start()
        try:
            clients += [await open_tunnel(machine, port) for _ in range(TUNNELS)]
            await until(lambda: tls_states() == 0)
            owned, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await asyncio.gather(*(close_gently(client) for client in clients))
    assert owned / TUNNELS < MOST, owned / TUNNELS
