"""The process that opened a tunnel, from the machine that may tell it to the audit of a gateway that takes it down."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.agent.proxy import callers
from arcgate.core.audit import Event
from arcgate.net.socket_owners import SocketOwners
from arcgate.wire.claims import PROCESS_FIELD
from worlds.agent_machine import AgentMachine, agent_machine, echo, read_all, target
from worlds.authority import Authority
from worlds.gateway_node import NAME, GatewayNode, gateway_node

pytestmark = pytest.mark.anyio

MINE = f"uid {os.getuid()}, pid {os.getpid()}, {os.readlink('/proc/self/exe')}"


@dataclass
class Place:
    """A machine before a gateway, and a target that answers with what it gets."""

    machine: AgentMachine
    node: GatewayNode
    target: str
    port: int

    async def claimed(self, count: int = 1) -> str:
        """Carry a few bytes; return what the audit says of the process."""
        client, _ = await self.machine.tunnel(self.target)
        await client.send(b"hello")
        await client.end()
        assert await read_all(client) == b"hello"
        await client.close()
        return (await self.node.wait_for_record(Event.END, count)).process


@pytest.fixture(params=[True])
async def place(authority: Authority, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with (
        gateway_node(authority, tmp_path, audit_process=request.param) as node,
        agent_machine(tmp_path, authority) as machine,
        target(echo) as port,
    ):
        where = f"127.0.0.1:{port}"
        node.publish_endpoints(where)
        node.take_in(machine.paths)
        machine.set_goal(where, port=node.port, host=NAME)
        yield Place(machine, node, where, port)


async def test_the_audit_names_the_process_where_both_want_it(place: Place) -> None:
    place.machine.set(arcproxy_audit_process=True)
    assert await place.claimed() == MINE
    assert {record.process for record in place.node.records()} == {MINE}  # the start has it as well


async def test_an_early_answer_does_not_lose_the_process(place: Place) -> None:
    place.machine.set(arcproxy_audit_process=True)
    assert await place.claimed() == MINE
    place.machine.set(arcproxy_audit_process=True, arcproxy_earlyanswer=True)
    assert await place.claimed(2) == MINE
    assert "answered=early" in place.machine.request_lines()[-1]


async def test_a_refusal_names_who_has_tried(place: Place) -> None:
    place.machine.set(arcproxy_audit_process=True)
    place.node.publish_endpoints("elsewhere.example:443")
    client = await place.machine.connect()
    await client.send(f"CONNECT {place.target} HTTP/1.1\r\nHost: {place.target}\r\n\r\n".encode())
    assert (await read_all(client)).startswith(b"HTTP/1.1 403 ")
    await client.close()
    assert (await place.node.wait_for_record(Event.REFUSAL)).process == MINE


async def test_the_machine_says_nothing_unless_it_is_told_to(place: Place) -> None:
    assert await place.claimed() == ""


@pytest.mark.parametrize("place", [False], indirect=True)
async def test_a_gateway_that_was_not_allowed_to_takes_nothing_down(place: Place) -> None:
    place.machine.set(arcproxy_audit_process=True)
    assert await place.claimed() == ""


async def test_a_search_that_takes_too_long_leaves_the_user(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()

    def search(*_: object, **__: object) -> None:
        asyncio.run_coroutine_threadsafe(is_over.wait(), loop).result()

    monkeypatch.setattr(callers, "find_process", search)
    monkeypatch.setattr(callers, "LONGEST_SEARCH", 0.01)
    place.machine.set(arcproxy_audit_process=True, arcproxy_log_process="off")
    try:
        assert await place.claimed() == f"uid {os.getuid()}"
    finally:
        is_over.set()


async def test_a_client_of_nobody_knows_whom_has_its_tunnel_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.machine.set(arcproxy_audit_process=True)
    monkeypatch.setattr(SocketOwners, "owner_of_peer", lambda *_: None)
    assert await place.claimed() == ""


async def test_clients_without_a_certificate_claim_nothing(place: Place) -> None:
    head, _ = await place.node.stranger().connect(place.target, **{PROCESS_FIELD: "uid=0"})
    assert head.status == 403
    assert (await place.node.wait_for_record(Event.REFUSAL)).process == ""
