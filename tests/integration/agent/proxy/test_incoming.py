"""Connections to a machine that only ever connects out: the agent and the real gateway together."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from arcgate.core.audit import Event
from arcgate.core.incoming import machine_target
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import spawn
from arcgate.net.tls import TlsStream
from arcgate.wire.heads import ResponseHead
from worlds.agent_machine import AgentMachine, agent_machine, echo, read_all, target
from worlds.authority import Authority
from worlds.fake_proxy import fake_proxy
from worlds.gateway_node import NAME, GatewayNode, connect_request, gateway_node, read_head
from worlds.waiting import until

pytestmark = pytest.mark.anyio

PIECE = bytes(range(256)) * 4_000


@dataclass
class Pair:
    """A node and a machine that is associated with it."""

    node: GatewayNode
    machine: AgentMachine
    machine_id: str
    serial: str
    authority: Authority
    streams: list[TlsStream] = field(default_factory=list)

    def allow(self, *ports: int) -> None:
        self.machine.set(incomingconnections_ports=[str(port) for port in ports])

    async def is_waiting(self) -> None:
        await until(lambda: len(self.node.incoming.machines) == 1)

    async def visit(self, port: int, grant: str = "") -> tuple[TlsStream, ResponseHead, bytes]:
        """Ask for a port of the machine, with a fresh grant of Ann's unless another one is given."""
        if not grant:
            grant = str(uuid4())
            self.node.grants.known[grant] = "ann 1234"
        stream = await self.node.stranger().open()
        self.streams.append(stream)
        await stream.send(connect_request(machine_target(self.machine_id, port).authority, Arcgate_Grant=grant))
        head, rest = await read_head(stream)
        return stream, head, rest

    async def connect(self, port: int) -> TlsStream:
        """Return a connection to a port that must be open."""
        stream, head, rest = await self.visit(port)
        assert (head.status, rest) == (200, b"")
        return stream

    async def reason_of(self, port: int, grant: str = "") -> str:
        """Return the reason for which a connection is refused."""
        _, head, _ = await self.visit(port, grant)
        assert head.status >= 400
        return head.first("arcgate-reason")


@pytest.fixture
async def pair(tmp_path: Path, authority: Authority) -> AsyncIterator[Pair]:
    async with (
        gateway_node(authority, tmp_path) as node,
        agent_machine(tmp_path / "machine", authority) as machine,
    ):
        machine_id, serial = machine.enrol(node)
        machine.set_goal("*.example.com", port=node.port, host=NAME)
        made = Pair(node, machine, machine_id, serial, authority)
        yield made
        for stream in made.streams:
            await stream.close()


async def talk(stream: ByteStream) -> None:
    await stream.send(b"hello")
    assert await stream.receive() == b"hello"


async def test_bytes_pass_both_ways_each_direction_ends_by_itself_and_the_audit_tells_it(pair: Pair) -> None:
    async with target(echo) as port:
        pair.allow(port)
        stream = await pair.connect(port)
        reading = spawn("read", read_all(stream))
        await stream.send(PIECE)
        await stream.end()
        assert await reading == PIECE
    end = await pair.node.wait_for_record(Event.END)
    start = pair.node.records(Event.START)[0]
    assert (start.direction, start.requester, start.target) == ("incoming", "ann 1234", f"127.0.0.1:{port}")
    assert (start.machine_id, start.reason) == (pair.machine_id, Reason.INCOMING)
    assert (end.reason, end.bytes_up, end.bytes_down) == (EndReason.COMPLETED, len(PIECE), len(PIECE))
    told = [line for line in pair.machine.log_lines() if "incoming connection" in line]
    assert any("ann 1234" in line and str(port) in line for line in told)


async def test_several_connections_run_side_by_side(pair: Pair) -> None:
    async with target(echo) as port:
        pair.allow(port)
        streams = await asyncio.gather(*(pair.connect(port) for _ in range(5)))
        for stream in streams:
            await talk(stream)


async def test_a_grant_is_good_once(pair: Pair) -> None:
    async with target(echo) as port:
        pair.allow(port)
        pair.node.grants.known["first"] = "ann 1234"
        stream, head, _ = await pair.visit(port, "first")
        assert head.status == 200
        assert await pair.reason_of(port, "first") == Reason.GRANT_INVALID
        await talk(stream)
    wish = pair.node.grants.wishes[0]
    assert (wish.machine_id, wish.port) == (pair.machine_id, port)
    assert wish.tunnel_id == pair.node.records(Event.START)[0].tunnel_id


async def test_a_port_that_the_settings_do_not_name_is_refused(pair: Pair) -> None:
    async with target(echo) as port, target(echo) as other:
        pair.allow(port)
        assert await pair.reason_of(other) == Reason.INCOMING_PORT_NOT_ALLOWED
        await talk(await pair.connect(port))
    refusal = pair.node.records(Event.REFUSAL)[0]
    assert (refusal.reason, refusal.requester) == (Reason.INCOMING_PORT_NOT_ALLOWED, "ann 1234")
    assert refusal.direction == "incoming"


async def test_the_agent_s_own_ports_are_refused_even_when_they_are_named(pair: Pair) -> None:
    pair.allow(pair.machine.port, 1)
    await pair.is_waiting()
    assert await pair.reason_of(pair.machine.port) == Reason.INCOMING_PORT_NOT_ALLOWED


async def test_a_port_where_nobody_listens_is_refused_and_the_machine_waits_on(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    async with target(echo) as port:
        pair.allow(port, closed)
        assert await pair.reason_of(closed) == Reason.TARGET_REFUSED
        await talk(await pair.connect(port))


@pytest.mark.parametrize("setting", [{"incomingconnections_enabled": False}, {"config_mode": "monitor"}])
async def test_a_setting_that_forbids_connections_cuts_them_and_ends_the_waiting(
    pair: Pair, setting: dict[str, object]
) -> None:
    async with target(echo) as port:
        pair.allow(port)
        stream = await pair.connect(port)
        await talk(stream)
        await pair.is_waiting()
        pair.machine.set(**setting)
        with pytest.raises(StreamReset):
            await stream.receive()
        await until(lambda: len(pair.node.incoming.machines) == 0)
    assert (await pair.node.wait_for_record(Event.END)).reason == EndReason.TARGET_RESET
    ended = next(line for line in pair.machine.log_lines() if "incoming connection ended" in line)
    assert Reason.INCOMING_NOT_ENABLED in ended


async def test_a_port_that_is_taken_from_the_settings_is_cut_and_others_go_on(pair: Pair) -> None:
    async with target(echo) as port, target(echo) as other:
        pair.allow(port, other)
        stream, kept = await pair.connect(port), await pair.connect(other)
        pair.allow(other)
        with pytest.raises(StreamReset):
            await stream.receive()
        await talk(kept)


async def test_a_machine_that_allows_nothing_does_not_wait(pair: Pair) -> None:
    assert await pair.reason_of(22) == Reason.MACHINE_NOT_WAITING
    assert pair.node.records(Event.REFUSAL)[0].machine_id == pair.machine_id


@pytest.mark.parametrize("reason", [EndReason.CUT_BY_OPERATOR, EndReason.ACCESS_REVOKED])
async def test_what_the_control_plane_wants_cut_is_cut_with_its_reason(pair: Pair, reason: EndReason) -> None:
    async with target(echo) as port:
        pair.allow(port)
        stream = await pair.connect(port)
        pair.node.grants.cut(reason)
        with pytest.raises(StreamReset):
            await stream.receive()
    assert (await pair.node.wait_for_record(Event.END)).reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda pair: pair.node.publish_machine(pair.machine_id, gateway=None), EndReason.ASSOCIATION_REMOVED),
        (
            lambda pair: pair.node.publish_machine(pair.machine_id, revoked=(pair.serial,)),
            EndReason.CERTIFICATE_REVOKED,
        ),
    ],
)
async def test_a_machine_that_may_not_use_the_gateway_any_more_is_cut_off(
    pair: Pair, change: Callable[[Pair], None], reason: EndReason
) -> None:
    async with target(echo) as port:
        pair.allow(port)
        stream = await pair.connect(port)
        change(pair)
        with pytest.raises(StreamReset):
            await stream.receive()
    assert (await pair.node.wait_for_record(Event.END)).reason == reason


async def test_the_waiting_goes_through_the_enterprise_proxy(pair: Pair) -> None:
    async with fake_proxy() as proxy, target(echo) as port:
        pair.machine.set(proxy_url=proxy.url)
        pair.allow(port)
        await talk(await pair.connect(port))
        assert proxy.heads[0].target == f"127.0.0.1:{pair.node.port}".encode()


async def test_the_machine_comes_back_to_a_gateway_that_let_it_go(pair: Pair) -> None:
    async with target(echo) as port:
        pair.allow(port)
        await pair.is_waiting()
        pair.node.incoming.let_go()
        await until(lambda: len(pair.node.incoming.machines) == 0)
        await pair.is_waiting()
        await talk(await pair.connect(port))
