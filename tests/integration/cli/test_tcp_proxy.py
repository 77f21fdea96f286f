"""Clients of `arcgate tcp-proxy`: each is served by itself, and can tell a cut from an end."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import cast

import pytest

from arcgate.cli import connection_commands
from arcgate.cli.machine_connection import MachineConnection
from arcgate.cli.session import Session
from arcgate.core.resource_ids import MACHINE_TYPE, ResourceId
from arcgate.net.dialer import dial
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from worlds.memory_streams import MemoryStream, memory_pair

pytestmark = pytest.mark.anyio

MACHINE = ResourceId("11111111-1111-4111-8111-111111111111", "servers", MACHINE_TYPE, "web-1")


@dataclass
class Proxy:
    """A running tcp-proxy, and the machines' ends of its connections in their order; `gate` lets the first one open."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    ends: "asyncio.Queue[MemoryStream]" = field(default_factory=asyncio.Queue)
    port: int = 0
    serving: "asyncio.Task[None] | None" = None

    async def open(self, session: Session, machine: ResourceId, port: int) -> MachineConnection:
        self.asked += 1
        if self.asked == 1:
            await self.gate.wait()
        own, machines = memory_pair()
        self.ends.put_nowait(machines)
        return MachineConnection(own, "correlation")

    async def client(self) -> SocketStream:
        return await dial([IPv4Address("127.0.0.1")], self.port, 5)


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Proxy]:
    running = Proxy()
    monkeypatch.setattr(connection_commands, "open_connection", running.open)
    serving = spawn("serve", connection_commands._serve(cast("Session", None), MACHINE, 22, "127.0.0.1", 0))
    said = ""
    while (match := re.search(r"Listening on 127\.0\.0\.1:([0-9]+) ", said)) is None:
        await asyncio.sleep(0)
        said += capsys.readouterr().err
    running.port, running.serving = int(match[1]), serving
    yield running
    await cancel(serving)


async def test_nobody_waits_for_the_machines_answer_to_somebody_else(proxy: Proxy) -> None:
    first, second = await proxy.client(), await proxy.client()
    machine = await asyncio.wait_for(proxy.ends.get(), 10)
    await machine.send(b"welcome")
    late = spawn("receive", first.receive())
    assert await second.receive() == b"welcome"
    assert not late.done()
    proxy.gate.set()
    await (await asyncio.wait_for(proxy.ends.get(), 10)).send(b"you too")
    assert await late == b"you too"
    await first.close()
    await second.close()


async def test_connections_that_its_end_cuts_do_not_look_whole(proxy: Proxy) -> None:
    proxy.gate.set()
    client = await proxy.client()
    machine = await asyncio.wait_for(proxy.ends.get(), 10)
    await machine.send(b"half of it")
    assert await client.receive() == b"half of it"
    assert proxy.serving is not None
    await cancel(proxy.serving)
    with pytest.raises(StreamReset):
        await client.receive()
    with pytest.raises(StreamReset):
        await machine.receive()
    await client.close()
