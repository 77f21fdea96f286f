"""Connections to a machine that waits at one of the nodes that share its gateway's name."""

import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest

from arcgate.cli import machine_connection
from arcgate.cli.machine_connection import open_connection
from arcgate.cli.outbound import Outbound
from arcgate.cli.profile import Profile
from arcgate.cli.session import Session
from arcgate.core.errors import HopError
from arcgate.core.incoming import WAITING
from arcgate.core.resource_ids import MACHINE_TYPE, ResourceId
from arcgate.core.verdicts import Reason
from arcgate.gateway.incoming import Patience, Place
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import dial
from arcgate.net.http_client import Answer
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.incoming import OPENED, PONG, format_declined
from worlds.agent_machine import TableResolver
from worlds.authority import Authority
from worlds.gateway_node import NAME, PREFIX, Client, GatewayNode, connect_request, gateway_node, read_head

pytestmark = pytest.mark.anyio

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
MACHINE = ResourceId("11111111-1111-4111-8111-111111111111", "servers", MACHINE_TYPE, "web-1")


@dataclass
class Nodes:
    """Two nodes behind one name of three addresses: at the first one nobody listens, the machine waits at the last."""

    node: GatewayNode
    machine: Client
    port: int
    profile: Profile
    channel: ChannelTunnel
    granted: list[str] = field(default_factory=list)

    async def send(self, method: str, path: str, version: str, body: dict[str, Any]) -> Answer:
        """Grant what is asked for, as the control plane does."""
        grant = f"grant {len(self.granted)}"
        self.granted.append(grant)
        self.node.grants.known[grant] = "ann 1"
        gateway = {"host": NAME, "port": self.port}
        document = {"grant": grant, "machineId": self.machine.machine_id, "port": body["port"], "gateway": gateway}
        return Answer(200, {}, repr(document).replace("'", '"').encode())

    def open(self) -> Any:
        return open_connection(cast("Session", self), MACHINE, 22)


@pytest.fixture
async def nodes(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    table = TableResolver({NAME: [IPv4Address(one) for one in ("127.0.0.9", *ADDRESSES[1:])]})
    monkeypatch.setattr(machine_connection, "Outbound", functools.partial(Outbound, resolver=table, environment={}))
    async with gateway_node(authority, tmp_path) as node:
        listeners: list[Listener] = []
        port = 0
        for address in ADDRESSES[1:]:
            incoming = node.incoming_of(Place(0, 1, tmp_path), Patience(keep_alive=5, wait=0.1, idle=30))
            sessions = node.sessions_of(incoming)

            async def serve(stream: ByteStream, sessions: Any = sessions) -> None:
                await sessions.serve(stream, PREFIX)

            listeners.append(Listener([listen(address, port)], serve))
            listeners[-1].start()
            port = int(listeners[0].addresses[0].rpartition(":")[2])
        machine = node.enrol()
        stream, channel = await wait_at(ADDRESSES[2], port, machine)
        yield Nodes(node, machine, port, Profile(ca=authority.pem), channel)
        await stream.close()
        for listener in listeners:
            await listener.stop(0)


async def wait_at(address: str, port: int, machine: Client) -> tuple[TlsStream, ChannelTunnel]:
    raw = await dial([IPv4Address(address)], port, 5)
    stream = TlsStream(raw, machine.context(), server_side=False, server_hostname=NAME)
    await stream.handshake()
    await stream.send(connect_request(WAITING.authority, **{FRAMES_FIELD.replace("-", "_"): FRAMES_VERSION}))
    _, rest = await read_head(stream)
    channel = ChannelTunnel(stream, rest, may_hand_over=False)
    assert (await channel.receive()).startswith(b"ping ")
    await channel.send(PONG)
    return stream, channel


async def test_the_node_is_found_at_which_the_machine_waits(nodes: Nodes) -> None:
    opening = spawn("open", nodes.open())
    assert (await nodes.channel.receive()).startswith(b"open 22 ")
    await nodes.channel.send(OPENED + b"SSH-2.0")
    connection = await opening
    try:
        assert await connection.stream.receive() == b"SSH-2.0"
        first, second = (one.grant for one in nodes.node.grants.wishes)
        assert first != second
    finally:
        connection.stream.abort()


async def test_what_the_machine_declines_at_another_node_is_told(nodes: Nodes) -> None:
    opening = spawn("open", nodes.open())
    await nodes.channel.receive()
    await nodes.channel.send(format_declined(Reason.INCOMING_PORT_NOT_ALLOWED))
    with pytest.raises(HopError) as told:
        await opening
    assert told.value.code == Reason.INCOMING_PORT_NOT_ALLOWED
    await cancel(opening)


async def test_a_machine_that_waits_at_no_node_is_told_of_with_what_to_do(nodes: Nodes) -> None:
    nodes.node.publish_machine(nodes.machine.machine_id, revoked=(nodes.machine.serial,))
    with pytest.raises(HopError) as told:
        await nodes.open()
    assert told.value.code == Reason.MACHINE_NOT_WAITING
    assert "another node" in told.value.remedy
