"""Machines that wait: found, asked, put back, kept alive and let go."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from arcgate.core.policy import Identity
from arcgate.core.verdicts import Reason
from arcgate.gateway.identity import Certificate
from arcgate.gateway.outbound import Refused
from arcgate.gateway.waiting import MOST_CHANNELS, WaitingMachine, WaitingMachines
from arcgate.net.streams import StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.wire.incoming import OPENED, PONG, OpenRequest, format_declined, format_ping
from worlds.memory_streams import MemoryStream, memory_pair
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio

MACHINE = "0a1b2c3d-0000-4000-8000-00000000000f"
REQUEST = OpenRequest(22, "correlation-1", "ann")
OPEN_LINE = b"open 22 correlation-1 ann\n"


class Gate:
    """Whether the machine may wait."""

    is_open = True


@asynccontextmanager
async def waiting(
    machines: WaitingMachines, *, keep_alive: float = 30, gate: Gate | None = None
) -> AsyncIterator[tuple[MemoryStream, "asyncio.Task[None]"]]:
    """A machine's end of a waiting channel, past its first ping, and the task that keeps the other end."""
    own, others = memory_pair()
    certificate = Certificate(Identity(MACHINE, "tenant", "1"), datetime.now(UTC) + timedelta(days=1))
    chosen = gate or Gate()
    machine = WaitingMachine(others, certificate, lambda: chosen.is_open, keep_alive)
    task = spawn("keep", machine.keep(machines.add))
    assert await own.receive() == format_ping(math.ceil(keep_alive))
    try:
        yield own, task
    finally:
        machines.discard(machine)
        await cancel(task)


async def test_a_connection_begins_with_what_came_behind_the_answer() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 5))
        assert await machine.receive() == OPEN_LINE
        await machine.send(PONG + OPENED + b"SSH-2.0")
        found, stream = await opening
        assert await stream.receive() == b"SSH-2.0"
        await stream.send(b"hello")
        assert await machine.receive() == b"hello"
        assert not task.done()
        found.release()
        await asyncio.wait_for(task, 5)


async def test_two_connections_never_share_a_channel_and_the_second_waits_for_the_next_one() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (first, _):
        one = spawn("open", machines.open(MACHINE, REQUEST, 5))
        two = spawn("open", machines.open(MACHINE, REQUEST, 5))
        assert await first.receive() == OPEN_LINE
        await first.send(OPENED)
        await one
        async with waiting(machines) as (second, _):
            assert await second.receive() == OPEN_LINE
            await second.send(OPENED)
            await two


async def test_a_machine_that_declines_waits_on() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, _):
        for _attempt in range(2):
            opening = spawn("open", machines.open(MACHINE, REQUEST, 5))
            assert await machine.receive() == OPEN_LINE
            await machine.send(format_declined(Reason.INCOMING_PORT_NOT_ALLOWED))
            with pytest.raises(Refused) as refused:
                await opening
            assert refused.value.verdict.reason is Reason.INCOMING_PORT_NOT_ALLOWED
            assert len(machines) == 1


async def test_a_machine_that_nobody_knows_of_is_not_waiting() -> None:
    with pytest.raises(Refused) as refused:
        await WaitingMachines().open(MACHINE, REQUEST, 0.01)
    assert refused.value.verdict.reason is Reason.MACHINE_NOT_WAITING


async def test_a_dead_channel_makes_way_for_the_next_one() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (alive, _), waiting(machines) as (dead, _):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 5))
        assert await dead.receive() == OPEN_LINE
        dead.abort()
        assert await alive.receive() == OPEN_LINE
        await alive.send(OPENED)
        await opening


async def test_a_channel_that_does_not_answer_in_time_is_given_up() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 0.05))
        assert await machine.receive() == OPEN_LINE
        with pytest.raises(Refused) as refused:
            await opening
        assert refused.value.verdict.reason is Reason.MACHINE_NOT_WAITING
        await until(task.done)


async def test_nothing_is_said_between_a_request_and_its_answer() -> None:
    machines = WaitingMachines()
    async with waiting(machines, keep_alive=0.05) as (machine, _):
        await machine.send(PONG)
        opening = spawn("open", machines.open(MACHINE, REQUEST, 10))
        assert await machine.receive() == OPEN_LINE
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(machine.receive(), 0.3)
        await machine.send(OPENED)
        _, stream = await opening
        await stream.send(b"first")
        assert await machine.receive() == b"first"


async def test_a_machine_that_does_not_answer_pings_is_let_go() -> None:
    machines = WaitingMachines()
    async with waiting(machines, keep_alive=0.05) as (machine, task):
        assert await machine.receive() == format_ping(1)
        await asyncio.wait_for(task, 5)


async def test_a_machine_that_is_not_welcome_any_more_is_let_go() -> None:
    machines, gate = WaitingMachines(), Gate()
    async with waiting(machines, keep_alive=0.05, gate=gate) as (machine, task):
        await machine.send(PONG)
        gate.is_open = False
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("words", [b"what?\n", b"x" * 2000])
async def test_a_machine_that_says_anything_else_is_let_go(words: bytes) -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        await machine.send(words)
        await asyncio.wait_for(task, 5)


async def test_an_answer_for_somebody_who_has_gone_ends_the_channel() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        opening = spawn("open", (await machines.take(MACHINE)).open(REQUEST, 5))
        assert await machine.receive() == OPEN_LINE
        await cancel(opening)
        await machine.send(OPENED)
        await asyncio.wait_for(task, 5)


async def test_at_the_end_those_who_wait_are_let_go_and_those_who_carry_are_not() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (busy, carrying):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 5))
        assert await busy.receive() == OPEN_LINE
        await busy.send(OPENED)
        await opening
        async with waiting(machines) as (_, idle):
            machines.dismiss_all()
            await until(idle.done)
            await settled()
            assert not carrying.done()


async def test_a_machine_that_goes_while_it_is_asked_is_told_of_as_a_reset() -> None:
    own, others = memory_pair()
    certificate = Certificate(Identity(MACHINE, "tenant", "1"), datetime.now(UTC))
    machine = WaitingMachine(others, certificate, lambda: True, 30)
    keeping = spawn("keep", machine.keep(lambda _: None))
    opening = spawn("open", machine.open(REQUEST, 5))
    await own.receive()
    await own.end()
    with pytest.raises(StreamReset):
        await opening
    await asyncio.wait_for(keeping, 5)


async def test_a_machine_does_not_fill_the_gateway_with_channels() -> None:
    machines = WaitingMachines()
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(waiting(machines)) for _ in range(MOST_CHANNELS + 1)]
        await until(made[0][1].done)
        assert len(machines) == MOST_CHANNELS
        assert not any(task.done() for _, task in made[1:])


async def test_a_channel_that_is_not_welcome_any_more_is_given_to_nobody() -> None:
    machines, gate = WaitingMachines(), Gate()
    async with waiting(machines) as (welcome, _), waiting(machines, gate=gate) as (_, others_task):
        gate.is_open = False
        opening = spawn("open", machines.open(MACHINE, REQUEST, 60))
        assert await asyncio.wait_for(welcome.receive(), 5) == OPEN_LINE
        await welcome.send(OPENED)
        await opening
        await until(others_task.done)


async def test_a_machine_that_speaks_unasked_is_looked_at_all_the_same() -> None:
    machines, gate = WaitingMachines(), Gate()
    async with waiting(machines, keep_alive=0.2, gate=gate) as (machine, task):
        gate.is_open = False

        async def speak() -> None:
            while True:
                await machine.send(PONG)
                await asyncio.sleep(0.01)

        speaking = spawn("speak", speak())
        await asyncio.wait({task}, timeout=5)
        await cancel(speaking)
        assert task.done()


async def test_a_machine_that_declines_what_nobody_asked_for_is_let_go() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        await machine.send(format_declined(Reason.LIMIT_REACHED))
        await until(task.done)


async def test_a_machine_that_does_not_answer_for_somebody_who_has_gone_is_let_go() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as (machine, task):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 60))
        assert await machine.receive() == OPEN_LINE
        await cancel(opening)
        await until(task.done)


async def test_a_machine_that_never_answers_on_any_channel_is_asked_for_twice_the_time_at_most() -> None:
    machines = WaitingMachines()
    async with waiting(machines) as _, waiting(machines) as (second, _):
        opening = spawn("open", machines.open(MACHINE, REQUEST, 0.05))
        assert await second.receive() == OPEN_LINE
        with pytest.raises(Refused) as refused:
            await opening
        assert refused.value.verdict.reason is Reason.MACHINE_NOT_WAITING
        assert len(machines) == 1
