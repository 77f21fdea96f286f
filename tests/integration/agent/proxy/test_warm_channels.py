"""Channels that die while they wait: whichever it is and however it dies, the client is served by another one."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arcgate.net.channel import ChannelTunnel
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.connect import format_established, parse_connect
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import RequestReader
from worlds.agent_machine import AgentMachine, agent_machine, echo
from worlds.authority import Authority
from worlds.fake_gateway import NAME
from worlds.waiting import until

pytestmark = pytest.mark.anyio

TARGET = "app.example.com:443"


@dataclass
class FailingGateway:
    """Takes one tunnel after the other on a channel; those whose numbers are `dead` or `silent` give no answer."""

    context: ssl.SSLContext
    dead: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    served: list[int] = field(default_factory=list)
    """Numbers of the channels that the CONNECTs came on, from 0."""
    channels: int = 0

    async def handle(self, raw: SocketStream) -> None:
        channel = TlsStream(raw, self.context, server_side=True)
        with contextlib.suppress(StreamReset):
            await channel.handshake()
            number, self.channels = self.channels, self.channels + 1
            rest = b""
            while True:
                rest = await self.serve(channel, number, rest)

    async def serve(self, channel: TlsStream, number: int, rest: bytes) -> bytes:
        reader = RequestReader()
        while (head := reader.feed(rest or await some(channel))) is None:
            rest = b""
        self.served.append(number)
        if number in self.dead:
            channel.abort()
            raise StreamReset("dead")
        if number in self.silent:
            await asyncio.Event().wait()
        correlation_id = parse_connect(head).correlation_id
        await channel.send(format_established(correlation_id, ((FRAMES_FIELD, FRAMES_VERSION),)))
        tunnel = ChannelTunnel(channel, reader.rest, may_hand_over=False)
        await echo(tunnel)
        return tunnel.rest


async def some(channel: TlsStream) -> bytes:
    if data := await channel.receive():
        return data
    raise StreamReset("the channel ended")


@pytest.fixture
async def gateway(authority: Authority) -> FailingGateway:
    return FailingGateway(server_context(*authority.issue(NAME), minimum=ssl.TLSVersion.TLSv1_3))


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority, gateway: FailingGateway) -> AsyncIterator[AgentMachine]:
    listening = listen("127.0.0.1", 0)
    listener = Listener([listening], gateway.handle)
    listener.start()
    async with agent_machine(tmp_path / "machine", authority) as one:
        one.set(arcproxy_timeout_answer=1)
        one.set_certificate(one.cloud_authority)
        one.set_goal("*.example.com", port=listening.getsockname()[1])
        yield one
    await listener.stop(0)


@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_a_channel_that_was_opened_ahead_and_fails_at_its_first_use_is_replaced(
    machine: AgentMachine, gateway: FailingGateway, how: str
) -> None:
    getattr(gateway, how).add(1)
    busy, _ = await machine.tunnel(TARGET)
    await until(lambda: gateway.channels == 2)  # the second one waits for whoever comes next
    await machine.converse(TARGET)
    assert gateway.served[:2] == [0, 1]
    assert gateway.served[2] >= 2
    await busy.close()


@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_a_used_channel_that_fails_at_its_next_use_is_replaced(
    machine: AgentMachine, gateway: FailingGateway, how: str
) -> None:
    await machine.converse(TARGET)
    getattr(gateway, how).update({0, 1})  # it, and the one that was opened ahead
    await machine.converse(TARGET)
    assert gateway.served[-1] >= 2
