"""TLS sessions of channels: a machine shakes hands in full once, and resumes from then on."""

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

pytestmark = pytest.mark.anyio

TARGET = "app.example.com:443"


@dataclass
class FramingGateway:
    """Takes one tunnel a channel, echoes, and remembers whether the channel's handshake was a resumed one."""

    context: ssl.SSLContext
    resumed: list[bool] = field(default_factory=list)

    async def handle(self, raw: SocketStream) -> None:
        channel = TlsStream(raw, self.context, server_side=True)
        with contextlib.suppress(StreamReset):
            await channel.handshake()
            self.resumed.append(bool(channel.tls.session_reused))
            reader = RequestReader()
            while (head := reader.feed(await channel.receive())) is None:
                pass
            correlation_id = parse_connect(head).correlation_id
            await channel.send(format_established(correlation_id, ((FRAMES_FIELD, FRAMES_VERSION),)))
            await echo(ChannelTunnel(channel, reader.rest, may_hand_over=False))


@pytest.fixture
async def gateway(authority: Authority) -> FramingGateway:
    return FramingGateway(server_context(*authority.issue(NAME), minimum=ssl.TLSVersion.TLSv1_3))


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority, gateway: FramingGateway) -> AsyncIterator[AgentMachine]:
    listening = listen("127.0.0.1", 0)
    listener = Listener([listening], gateway.handle)
    listener.start()
    async with agent_machine(tmp_path / "machine", authority) as one:
        one.set(arcproxy_channels=0)
        one.set_certificate(one.cloud_authority)
        one.set_goal("*.example.com", port=listening.getsockname()[1])
        yield one
    await listener.stop(0)


async def test_channels_that_are_opened_at_the_same_time_resume_one_session(
    machine: AgentMachine, gateway: FramingGateway
) -> None:
    await machine.converse(TARGET)
    await asyncio.gather(machine.converse(TARGET), machine.converse(TARGET), machine.converse(TARGET))
    assert gateway.resumed == [False, True, True, True]


async def test_a_session_that_the_gateway_takes_no_more_is_replaced(
    machine: AgentMachine, gateway: FramingGateway, authority: Authority
) -> None:
    await machine.converse(TARGET)
    gateway.context = server_context(*authority.issue(NAME), minimum=ssl.TLSVersion.TLSv1_3)
    await machine.converse(TARGET)
    await machine.converse(TARGET)
    assert gateway.resumed == [False, False, True]
