"""Relays that share a pace: the test turns the clock, the sockets are real."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from arcgate.core.token_bucket import TokenBucket
from arcgate.net.pace import MOST_TURNS, Pace
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.splice import close_spare_pipes
from arcgate.net.streams import CHUNK, SocketStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream, client_context, server_context
from worlds.authority import Authority
from worlds.channel_chain import channel_chain, converse
from worlds.sockets import connected_sockets
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio

RATE = 100_000


class Clock:
    """Time that passes when the test says so, and what is to be called then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        assert seconds > 0
        self.timers.append((self.now + seconds, action))

    def go_to_next_timer(self) -> None:
        self.now, action = self.timers.pop(0)
        action()


class PacingMeter(Pace):
    """A pace by itself is all of a meter that paces."""

    is_pacing = True


def make_meter(clock: Clock, rate: float = RATE) -> PacingMeter:
    return PacingMeter(TokenBucket(rate, rate, rate, 0), lambda: clock.now, clock.later)


@asynccontextmanager
async def paced_relay(meter: PacingMeter) -> AsyncIterator[tuple[SocketStream, SocketStream, Traffic]]:
    """A relay; gives both far ends and its traffic."""
    client, near_client = connected_sockets()
    target, near_target = connected_sockets()
    streams = [SocketStream(one) for one in (client, target, near_client, near_target)]
    traffic = Traffic(meter=meter)
    relaying = spawn("relay", relay(streams[2], streams[3], traffic, idle_timeout=60, half_closed_timeout=60))
    try:
        yield streams[0], streams[1], traffic
    finally:
        await cancel(relaying)
        for stream in streams:
            await stream.close()
        close_spare_pipes()


async def drain(stream: SocketStream) -> bytes:
    received = bytearray()
    while data := await stream.receive():
        received += data
    return bytes(received)


async def test_bulk_passes_at_the_rate_and_arrives_whole() -> None:
    clock, data = Clock(), bytes(range(256)) * 8_000
    meter = make_meter(clock)
    async with paced_relay(meter) as (client, target, traffic):

        async def send() -> None:
            await client.send(data)
            await client.end()

        sending, receiving = spawn("send", send()), spawn("receive", drain(target))
        while not receiving.done():
            await until(lambda: clock.timers or receiving.done())
            assert traffic.up <= RATE + RATE * clock.now + CHUNK
            if clock.timers:
                clock.go_to_next_timer()
                await settled(5)
        assert receiving.result() == data
        assert clock.now >= (len(data) - RATE - CHUNK) / RATE
        await sending


async def test_what_waits_for_its_turn_is_asked_for_by_no_report_of_the_socket() -> None:
    clock = Clock()
    async with paced_relay(make_meter(clock)) as (client, target, traffic):
        await client.send(bytes(CHUNK))
        await until(lambda: traffic.up >= RATE)
        before = traffic.up
        for _ in range(20):
            await client.send(b"more")
            await settled(5)
        assert traffic.up == before
        await target.send(b"nor the other way")
        await settled(20)
        assert traffic.down == 0
        assert len(clock.timers) == 1


async def test_tunnels_of_one_pace_go_on_in_turn() -> None:
    clock = Clock()
    meter = make_meter(clock)
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(paced_relay(meter)) for _ in range(4)]
        work = []
        for client, target, _ in relays:
            work += [spawn("send", client.send(bytes(8 * CHUNK))), spawn("receive", drain(target))]
        stack.push_async_callback(cancel, *work)
        for _ in range(40):
            await until(lambda: clock.timers)
            clock.go_to_next_timer()
            await settled(10)
        carried = [traffic.up for _, _, traffic in relays]
        assert min(carried) > 0
        assert max(carried) - min(carried) <= 3 * CHUNK


async def test_the_end_of_a_tunnel_is_passed_on_although_it_is_paced() -> None:
    meter = make_meter(Clock())
    async with paced_relay(meter) as (client, target, _):
        await client.send(b"x")
        await client.end()
        await target.end()
        assert await drain(target) == b"x"
        assert await drain(client) == b""


async def test_a_long_line_is_served_in_several_turns_of_the_loop() -> None:
    clock = Clock()
    meter = make_meter(clock)
    meter.spend(2 * RATE)
    served: list[int] = []

    def waiting(number: int) -> Callable[[], None]:
        return lambda: served.append(number)

    for number in range(3 * MOST_TURNS):
        assert not meter.may_carry(waiting(number))
    while clock.timers:
        clock.now += 0.01
        before = len(served)
        clock.go_to_next_timer()
        assert len(served) - before <= MOST_TURNS
    assert served == list(range(3 * MOST_TURNS))


async def test_without_a_meter_bulk_is_spliced_and_with_one_that_only_counts_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splice, spliced = os.splice, 0

    def counting_splice(source: int, sink: int, size: int, flags: int) -> int:
        nonlocal spliced
        moved = splice(source, sink, size, flags=flags)
        spliced += moved
        return moved

    monkeypatch.setattr(os, "splice", counting_splice)

    class Counting:
        is_pacing = False
        spent = 0

        def may_carry(self, resume: Callable[[], None]) -> bool:
            raise AssertionError("nobody asks a meter that does not pace")

        def spend(self, size: int) -> None:
            self.spent += size

    client, near_client = connected_sockets()
    target, near_target = connected_sockets()
    far = [SocketStream(client), SocketStream(target)]
    near = [SocketStream(near_client), SocketStream(near_target)]
    meter = Counting()
    relaying = spawn("relay", relay(near[0], near[1], Traffic(meter=meter), idle_timeout=60, half_closed_timeout=60))
    receiving = spawn("receive", drain(far[1]))
    await far[0].send(bytes(1_000_000))
    await until(lambda: spliced > 0)
    await far[0].end()
    await far[1].end()
    assert await relaying is Ending.COMPLETED
    assert len(await receiving) == meter.spent == 1_000_000
    for stream in (*far, *near):
        await stream.close()
    close_spare_pipes()


@pytest.mark.parametrize("seed", range(4))
async def test_a_tunnel_that_is_handed_over_keeps_to_the_pace_and_loses_nothing(
    authority: Authority, seed: int
) -> None:
    loop, rate = asyncio.get_running_loop(), 8_000_000
    meter = PacingMeter(TokenBucket(rate, rate / 10, rate / 10, loop.time()), loop.time, loop.call_later)
    begun, dice = loop.time(), random.Random(seed)
    up, down = dice.randbytes(dice.randrange(1_000_000)), dice.randbytes(2_000_000)
    async with channel_chain(authority, far_meter=meter) as chain:
        certificate, key = authority.issue("a.example")
        client = TlsStream(
            chain.client, client_context(ca_pem=authority.pem), server_side=False, server_hostname="a.example"
        )
        target = TlsStream(chain.target, server_context(certificate, key), server_side=True)
        await asyncio.gather(client.handshake(), target.handshake())
        got_down, got_up = await asyncio.gather(converse(client, up, dice), converse(target, down, dice))
        assert (got_down, got_up) == (down, up)
        assert chain.far.channel is not None
        assert chain.far.channel.raw_sink is not None
        await chain.client.end()
        await chain.target.end()
        assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)
        carried = chain.far.traffic.up + chain.far.traffic.down
        # The kernel would have been faster: less than the burst and one piece overdrawn each way can't be early.
        assert loop.time() - begun >= (carried - rate / 10 - 2 * CHUNK) / rate
