"""Early answers: the client's first bytes travel with the CONNECT, and what fails then is a reset with its reason."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.hand_over import HandOverMode
from arcgate.net.channel import ChannelTunnel
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from arcgate.wire.connect import HAND_OVER_FIELD, format_established, parse_connect
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import RequestReader
from worlds.agent_machine import AgentMachine, address, agent_machine, connect_head, echo, error_of, target
from worlds.authority import Authority
from worlds.fake_gateway import NAME as SCRIPTED_NAME
from worlds.gateway_node import NAME, GatewayNode, gateway_node
from worlds.waiting import until

pytestmark = pytest.mark.anyio

FIRST, APP = "first.example.com:443", "app.example.com:443"


@dataclass
class ScriptedGateway:
    """Speaks frames and echoes. To a target in `patient` it says nothing before the client's first bytes are there."""

    context: ssl.SSLContext
    patient: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    answers: dict[str, bytes] = field(default_factory=dict)
    """What is said in place of a 200, in pieces of one byte; then the channel ends."""
    came_before_the_answer: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle(self, raw: SocketStream) -> None:
        channel = TlsStream(raw, self.context, server_side=True)
        with contextlib.suppress(StreamReset, asyncio.CancelledError):
            await channel.handshake()
            rest = b""
            while True:
                rest = await self.serve(channel, rest)
        raw.abort()

    async def serve(self, channel: TlsStream, rest: bytes) -> bytes:
        reader = RequestReader()
        while (head := reader.feed(rest or await some(channel))) is None:
            rest = b""
        request = parse_connect(head)
        where, frames = request.target.authority, reader.rest
        if where in self.silent:
            await asyncio.Event().wait()
        if where in self.answers:
            for byte in self.answers[where]:
                await channel.send(bytes([byte]))
            await channel.end()
            while await channel.receive():  # a reset could overtake the answer
                pass
            raise StreamReset("refused")
        if where in self.patient:
            frames = frames or await some(channel)
            self.came_before_the_answer.append(frames)
        agreed = [(HAND_OVER_FIELD, str(request.hand_over))] if request.hand_over is not HandOverMode.OFF else []
        await channel.send(format_established(request.correlation_id, ((FRAMES_FIELD, FRAMES_VERSION), *agreed)))
        tunnel = ChannelTunnel(channel, frames, may_hand_over=bool(agreed))
        await echo(tunnel)
        return tunnel.rest


async def some(channel: TlsStream) -> bytes:
    data = await channel.receive()
    if not data:
        raise StreamReset("the channel ended")
    return data


@pytest.fixture
async def scripted(authority: Authority) -> AsyncIterator[ScriptedGateway]:
    gateway = ScriptedGateway(server_context(*authority.issue(SCRIPTED_NAME), minimum=ssl.TLSVersion.TLSv1_3))
    listening = listen("127.0.0.1", 0)
    gateway.port = listening.getsockname()[1]
    listener = Listener([listening], gateway.handle)
    listener.start()
    yield gateway
    await listener.stop(0)


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path / "machine", authority) as one:
        yield one


async def warm(machine: AgentMachine, gateway_port: int) -> None:
    """Have a channel kept that is known to speak frames, and answer early from then on."""
    machine.set_certificate(machine.cloud_authority)
    machine.set_goal("*.example.com", port=gateway_port)
    await say(machine, FIRST, b"one after the other")
    machine.set(arcproxy_earlyanswer=True)


async def say(machine: AgentMachine, where: str, words: bytes) -> None:
    await machine.converse(where, words)
    await until(lambda: any(where in line for line in machine.request_lines()))


async def test_the_first_bytes_arrive_with_the_connect_before_the_gateway_has_answered(
    machine: AgentMachine, scripted: ScriptedGateway
) -> None:
    await warm(machine, scripted.port)
    scripted.patient.add(APP)
    await say(machine, APP, b"hello")
    assert b"hello" in b"".join(scripted.came_before_the_answer)
    line = machine.request_lines()[-1]
    assert " answered=early " in line
    assert "bytes_up=5 bytes_down=5" in line
    assert "reason=completed" in line
    await say(machine, APP, b"and its channel is used again")
    assert len(scripted.came_before_the_answer) == 2


async def test_bytes_that_came_with_the_clients_connect_go_along(
    machine: AgentMachine, scripted: ScriptedGateway
) -> None:
    await warm(machine, scripted.port)
    scripted.patient.add(APP)
    await machine.converse(APP, b"", early=b"at once")


@pytest.mark.parametrize("setting", ["off", "cold"])
async def test_without_the_setting_or_a_warm_channel_the_client_waits_for_the_gateway(
    machine: AgentMachine, scripted: ScriptedGateway, setting: str
) -> None:
    if setting == "cold":
        machine.set(arcproxy_channels=0)
    await warm(machine, scripted.port)
    if setting == "off":
        machine.set(arcproxy_earlyanswer=False)
    scripted.answers[APP] = b"HTTP/1.1 403 No\r\nArcgate-Reason: target_not_allowed\r\nContent-Length: 0\r\n\r\n"
    assert (await machine.ask(connect_head(APP))).startswith(b"HTTP/1.1 403 ")


async def test_a_target_that_the_goal_does_not_allow_is_never_answered_early(
    machine: AgentMachine, scripted: ScriptedGateway
) -> None:
    await warm(machine, scripted.port)
    answer = await machine.ask(connect_head("elsewhere.invalid:443"))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["hop"] == "DNS"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            b"HTTP/1.1 403 No\r\nArcgate-Reason: target_not_allowed\r\nContent-Length: 3\r\n\r\nno\n",
            "target_not_allowed",
        ),
        (b"HTTP/1.1 403 No\r\nArcgate-Reason: target_not_allowed\r\n\r\nno length", "target_not_allowed"),
        (b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", "gateway_refused"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "gateway_failed"),
        (b"SSH-2.0-not_http\r\n", "gateway_failed"),
        (b"HTTP/1.1 2", "gateway_failed"),
    ],
)
async def test_an_answer_that_begins_no_tunnel_is_a_reset_and_a_warning_with_the_reason(
    machine: AgentMachine, scripted: ScriptedGateway, answer: bytes, reason: str
) -> None:
    await warm(machine, scripted.port)
    scripted.answers[APP] = answer
    client, _ = await machine.tunnel(APP, early=b"hello")
    with pytest.raises(StreamReset, match="reset by peer"):
        await client.receive()
    await client.close()
    await until(lambda: any(APP in line for line in machine.request_lines()))
    line = machine.request_lines()[-1]
    assert "level=warning" in line
    assert f"reason={reason} " in line
    assert " answered=early " in line


async def test_no_answer_in_time_is_a_reset_too(machine: AgentMachine, scripted: ScriptedGateway) -> None:
    machine.set(arcproxy_timeout_answer=1)
    await warm(machine, scripted.port)
    scripted.silent.add(APP)
    client, _ = await machine.tunnel(APP, early=b"hello")
    with pytest.raises(StreamReset, match="reset by peer"):
        await client.receive()
    await client.close()
    await until(lambda: any(APP in line for line in machine.request_lines()))
    assert "no answer to CONNECT" in machine.request_lines()[-1]


async def test_what_failed_early_is_explained_in_words_the_next_time(
    machine: AgentMachine, scripted: ScriptedGateway
) -> None:
    await warm(machine, scripted.port)
    scripted.answers[APP] = b"HTTP/1.1 403 No\r\nArcgate-Reason: target_not_allowed\r\nContent-Length: 0\r\n\r\n"
    client, _ = await machine.tunnel(APP)
    with pytest.raises(StreamReset):
        await client.receive()
    await client.close()
    assert (await machine.ask(connect_head(APP))).startswith(b"HTTP/1.1 403 ")
    del scripted.answers[APP]
    await say(machine, APP, b"works again, with its answer waited for")
    scripted.patient.add(APP)
    await say(machine, APP, b"and early again")


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path) as one:
        yield one


async def test_a_dial_that_fails_after_an_early_answer_is_in_the_audit_with_its_reason(
    machine: AgentMachine, node: GatewayNode
) -> None:
    node.take_in(machine.paths)
    async with target(echo) as port:
        works, fails = f"works.example.com:{port}", f"fails.example.com:{port}"
        node.publish_endpoints(works, fails)
        node.resolver.addresses["works.example.com"] = [address("127.0.0.1")]
        node.resolver.addresses["fails.example.com"] = [address("127.0.0.2")]  # where nobody listens
        machine.set_goal(works, fails, port=node.port, host=NAME)
        await say(machine, works, b"hello")
        machine.set(arcproxy_earlyanswer=True)
        await say(machine, works, b"early")
        assert " answered=early " in machine.request_lines()[-1]
        client, _ = await machine.tunnel(fails, early=b"hello")
        with pytest.raises(StreamReset, match="reset by peer"):
            await client.receive()
        await client.close()
        refusal = await node.wait_for_record(Event.REFUSAL)
        await until(lambda: any(fails in line for line in machine.request_lines()))
    line = machine.request_lines()[-1]
    assert refusal.target == fails
    assert f"reason={refusal.reason} " in line
    assert f"correlation_id={refusal.correlation_id} " in line
