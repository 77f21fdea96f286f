"""Incoming connections at a node of two workers: machine and visitor meet whichever worker took them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.incoming import WAITING, home_of, machine_target
from arcgate.core.verdicts import EndReason, Reason
from arcgate.gateway.incoming import Place
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import dial
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.incoming import OPENED, PONG
from worlds.agent_machine import read_all
from worlds.authority import Authority
from worlds.gateway_node import NAME, PREFIX, Client, GatewayNode, connect_request, gateway_node, read_head

pytestmark = pytest.mark.anyio


@dataclass
class Workers:
    """Two workers of one node, each with a port of its own."""

    node: GatewayNode
    ports: tuple[int, int]
    streams: list[TlsStream] = field(default_factory=list)

    async def ask(self, worker: int, client: Client, request: bytes) -> tuple[TlsStream, int, str, bytes]:
        raw = await dial([IPv4Address("127.0.0.1")], self.ports[worker], 5)
        stream = TlsStream(raw, client.context(), server_side=False, server_hostname=NAME)
        await stream.handshake()
        self.streams.append(stream)
        await stream.send(request)
        head, rest = await read_head(stream)
        return stream, head.status, head.first("arcgate-reason"), rest

    async def wait(self, worker: int, machine: Client) -> ChannelTunnel:
        """Let a machine wait at a worker."""
        fields = {FRAMES_FIELD.replace("-", "_"): FRAMES_VERSION}
        stream, status, _, rest = await self.ask(worker, machine, connect_request(WAITING.authority, **fields))
        assert status == 200
        channel = ChannelTunnel(stream, rest, may_hand_over=False)
        assert (await channel.receive()).startswith(b"ping ")
        await channel.send(PONG)
        return channel

    async def visit(self, worker: int, machine: Client, grant: str = "good") -> tuple[TlsStream, int, str, bytes]:
        request = connect_request(machine_target(machine.machine_id, 22).authority, Arcgate_Grant=grant)
        return await self.ask(worker, self.node.stranger(), request)


@pytest.fixture
async def workers(authority: Authority, tmp_path: Path) -> AsyncIterator[Workers]:
    async with gateway_node(authority, tmp_path) as node:
        made = [node.incoming_of(Place(number, 2, tmp_path / "run")) for number in (0, 1)]
        listeners = []
        for one in made:
            one.start()
            sessions = node.sessions_of(one)

            async def serve(stream: ByteStream, sessions: object = sessions) -> None:
                await sessions.serve(stream, PREFIX)  # type: ignore[attr-defined]

            listeners.append(Listener([listen("127.0.0.1", 0)], serve))
            listeners[-1].start()
        ports = [int(one.addresses[0].rpartition(":")[2]) for one in listeners]
        running = Workers(node, (ports[0], ports[1]))
        yield running
        for stream in running.streams:
            await stream.close()
        for number, one in enumerate(made):
            one.let_go()
            await listeners[number].stop(0)
            await one.stop(0)


def machine_at(workers: Workers, home: int) -> Client:
    """Return a machine whose home is that worker."""
    while home_of((machine := workers.node.enrol()).machine_id, 2) != home:
        pass
    return machine


@pytest.mark.parametrize("home", [0, 1])
@pytest.mark.parametrize(("machines_worker", "visitors_worker"), [(0, 0), (0, 1), (1, 0), (1, 1)])
async def test_they_meet_wherever_they_came_in(
    workers: Workers, home: int, machines_worker: int, visitors_worker: int
) -> None:
    machine = machine_at(workers, home)
    workers.node.grants.known["good"] = "ann 1"
    channel = await workers.wait(machines_worker, machine)
    visiting = spawn("visit", workers.visit(visitors_worker, machine))
    assert b"open 22 " in await channel.receive()
    await channel.send(OPENED)
    visitor, status, _, _ = await visiting
    assert status == 200
    await channel.send(b"SSH-2.0 there")
    assert await visitor.receive() == b"SSH-2.0 there"
    await visitor.send(b"here")
    await visitor.end()
    assert await read_all(channel) == b"here"
    await channel.send(b"last words")
    await channel.end()
    assert await read_all(visitor) == b"last words"
    end = await workers.node.wait_for_record(Event.END)
    assert (end.reason, end.bytes_up, end.bytes_down) == (EndReason.COMPLETED, 4, 23)
    assert end.client_address == "127.0.0.1"


@pytest.mark.parametrize("visitors_worker", [0, 1])
async def test_a_cut_is_seen_as_one_on_both_sides_through_a_link_too(workers: Workers, visitors_worker: int) -> None:
    machine = machine_at(workers, 0)
    workers.node.grants.known["good"] = "ann 1"
    channel = await workers.wait(1 - visitors_worker, machine)
    visiting = spawn("visit", workers.visit(visitors_worker, machine))
    await channel.receive()
    await channel.send(OPENED)
    visitor, _, _, _ = await visiting
    workers.node.grants.cut(EndReason.CUT_BY_OPERATOR)
    with pytest.raises(StreamReset):
        await visitor.receive()
    with pytest.raises(StreamReset):
        await channel.receive()


@pytest.mark.parametrize("visitors_worker", [0, 1])
async def test_a_refusal_comes_whole_through_a_link(workers: Workers, visitors_worker: int) -> None:
    machine = machine_at(workers, 0)
    visitor, status, reason, body = await workers.visit(visitors_worker, machine, "unknown")
    assert (status, reason) == (403, Reason.GRANT_INVALID)
    assert (body + await read_all(visitor)).endswith(b"}\n")
    assert workers.node.records(Event.REFUSAL)[0].machine == ""


async def test_strangers_learn_nothing_of_machines(workers: Workers) -> None:
    known = machine_at(workers, 0)
    unknown = Client(workers.node, None, "0a1b2c3d-0000-4000-8000-00000000000f", "")
    answers = [await workers.visit(0, one, "unknown") for one in (known, unknown)]
    assert {(status, reason) for _, status, reason, _ in answers} == {(403, Reason.GRANT_INVALID)}


async def test_a_request_without_a_grant_is_refused(workers: Workers) -> None:
    machine = machine_at(workers, 0)
    request = connect_request(machine_target(machine.machine_id, 22).authority)
    _, status, reason, _ = await workers.ask(0, workers.node.stranger(), request)
    assert (status, reason) == (403, Reason.GRANT_INVALID)


async def test_only_an_associated_machine_may_wait(workers: Workers) -> None:
    fields = {FRAMES_FIELD.replace("-", "_"): FRAMES_VERSION}
    request = connect_request(WAITING.authority, **fields)
    assert (await workers.ask(0, workers.node.stranger(), request))[2] == Reason.CERTIFICATE_REQUIRED
    machine = workers.node.enrol()
    workers.node.publish_machine(machine.machine_id, gateway=None)
    assert (await workers.ask(0, machine, request))[2] == Reason.NOT_ASSOCIATED
    workers.node.publish_machine(machine.machine_id, revoked=(machine.serial,))
    assert (await workers.ask(0, machine, request))[2] == Reason.CERTIFICATE_REVOKED


@pytest.mark.parametrize("is_revoked", [True, False], ids=["revoked", "expired"])
async def test_nobody_is_led_to_who_waits_by_a_certificate_that_is_good_no_more(
    workers: Workers, is_revoked: bool
) -> None:
    machine, node = machine_at(workers, 0), workers.node
    node.grants.known["good"] = "ann 1"
    channel = await workers.wait(0, machine)
    if is_revoked:
        node.publish_machine(machine.machine_id, revoked=(machine.serial,))
    else:
        node.now = lambda: datetime.now(UTC) + timedelta(days=365)
    visiting = spawn("visit", workers.visit(0, machine))
    try:
        assert await read_all(channel) == b""
    finally:
        await cancel(visiting)


async def test_a_worker_that_is_away_is_told_of_and_a_machine_tries_again(workers: Workers, tmp_path: Path) -> None:
    machine = machine_at(workers, 1)
    (tmp_path / "run" / "worker-1.sock").unlink()
    _, status, reason, _ = await workers.visit(0, machine)
    assert (status, reason) == (500, Reason.INTERNAL)
    fields = {FRAMES_FIELD.replace("-", "_"): FRAMES_VERSION}
    stream, _, _, rest = await workers.ask(0, machine, connect_request(WAITING.authority, **fields))
    with pytest.raises(StreamReset):
        await ChannelTunnel(stream, rest, may_hand_over=False).receive()
