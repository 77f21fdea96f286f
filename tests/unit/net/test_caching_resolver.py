"""The resolver that remembers, over a scripted one; the test turns the clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from arcgate.core.errors import HopError
from arcgate.core.name_cache import HOT, Lives, NameCache
from arcgate.core.names import Address, HostName
from arcgate.net.caching_resolver import CachingResolver
from arcgate.net.resolver import Found, NotResolved
from arcgate.net.tasks import cancel, spawn
from worlds.waiting import settled

pytestmark = pytest.mark.anyio

NAME, OTHER = HostName("a.example"), HostName("b.example")


@dataclass
class World:
    """A resolver and what it is made of."""

    now: float = 1000.0
    ttl: float = 100
    address: Address = field(default_factory=lambda: ip_address("192.0.2.1"))
    failure: NotResolved | None = None
    asked: list[HostName] = field(default_factory=list)
    silent: set[HostName] = field(default_factory=set)
    hosts: dict[HostName, list[Address]] = field(default_factory=dict)
    at_once: int = 0

    def fixed(self, host: HostName) -> list[Address]:
        return self.hosts.get(host, [])

    async def find(self, host: HostName) -> Found:
        self.asked.append(host)
        self.at_once += 1
        try:
            await asyncio.sleep(0)
            if host in self.silent:
                await asyncio.Event().wait()
        finally:
            self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        return Found((self.address,), self.ttl)


@asynccontextmanager
async def resolving(world: World, most_at_once: int = 10) -> AsyncIterator[CachingResolver]:
    cache = NameCache(Lives(1, 3600, 30, 100))
    resolver = CachingResolver(world, cache, most_at_once=most_at_once, clock=lambda: world.now)
    try:
        yield resolver
    finally:
        await resolver.close()


def no_such_name(ttl: float) -> NotResolved:
    return NotResolved(NAME, "the name does not exist", ttl, is_definite=True)


def no_answer() -> NotResolved:
    return NotResolved(NAME, "the DNS servers did not answer in time", 1, is_definite=False)


async def test_a_name_is_looked_up_again_only_when_its_time_is_over() -> None:
    world = World()
    async with resolving(world) as resolver:
        assert await resolver.resolve(NAME) == [world.address]
        world.address, world.now = ip_address("192.0.2.2"), world.now + 99
        assert await resolver.resolve(NAME) == [ip_address("192.0.2.1")]
        assert world.asked == [NAME]
        world.now += 1
        assert await resolver.resolve(NAME) == [ip_address("192.0.2.2")]
        assert world.asked == [NAME, NAME]


async def test_however_many_ask_for_a_name_there_is_one_look_up_and_it_goes_on_when_they_have_gone() -> None:
    world = World()
    async with resolving(world) as resolver:
        answers = await asyncio.gather(*(resolver.resolve(NAME) for _ in range(50)))
        assert answers == [[world.address]] * 50
        assert world.asked == [NAME]
        asking = spawn("ask", resolver.resolve(OTHER))
        await asyncio.sleep(0)
        await cancel(asking)
        await settled()
        await resolver.resolve(OTHER)
        assert world.asked == [NAME, OTHER]


async def test_one_of_many_that_gives_up_does_not_disturb_the_others() -> None:
    world = World()
    async with resolving(world) as resolver:
        first, second = (spawn("ask", resolver.resolve(NAME)) for _ in range(2))
        await asyncio.sleep(0)
        await cancel(first)
        assert await second == [world.address]


async def test_that_there_is_no_such_name_is_remembered_for_its_time() -> None:
    world = World(failure=no_such_name(20))
    async with resolving(world) as resolver:
        for _ in range(5):
            with pytest.raises(HopError) as caught:
                await resolver.resolve(NAME)
            assert (caught.value.code, caught.value.cause) == ("DNS_FAILED", "the name does not exist")
        assert world.asked == [NAME]
        world.failure, world.now = None, world.now + 20
        assert await resolver.resolve(NAME) == [world.address]


async def test_without_a_time_that_it_may_be_believed_a_failure_is_not() -> None:
    world = World(failure=no_such_name(0))
    async with resolving(world) as resolver:
        for _ in range(3):
            with pytest.raises(HopError):
                await resolver.resolve(NAME)
    assert len(world.asked) == 3


async def test_a_name_that_is_asked_for_often_is_looked_up_in_the_background_before_its_end() -> None:
    world = World()
    async with resolving(world) as resolver:
        for _ in range(HOT):
            await resolver.resolve(NAME)
        world.address, world.now = ip_address("192.0.2.2"), world.now + 90
        world.silent.add(NAME)
        for _ in range(5):  # nobody waits for it
            assert await resolver.resolve(NAME) == [ip_address("192.0.2.1")]
        await settled()
        assert world.asked == [NAME, NAME]
    world.silent.clear()
    async with resolving(world) as resolver:
        for _ in range(HOT):
            await resolver.resolve(NAME)
        world.address, world.now = ip_address("192.0.2.3"), world.now + 90
        await resolver.resolve(NAME)
        await settled()
        assert await resolver.resolve(NAME) == [ip_address("192.0.2.3")]


async def test_while_dns_is_down_what_is_known_serves_to_its_end_and_is_asked_for_once_a_second() -> None:
    world = World()
    async with resolving(world) as resolver:
        for _ in range(HOT):
            await resolver.resolve(NAME)
        world.failure, world.now = no_answer(), world.now + 90
        for _ in range(5):
            assert await resolver.resolve(NAME) == [world.address]
            await settled()
        assert len(world.asked) == 2
        world.now += 1
        assert await resolver.resolve(NAME) == [world.address]
        await settled()
        assert len(world.asked) == 3
        world.now += 9
        with pytest.raises(HopError):
            await resolver.resolve(NAME)


async def test_a_name_that_is_gone_is_forgotten_by_the_look_up_in_the_background() -> None:
    world = World()
    async with resolving(world) as resolver:
        for _ in range(HOT):
            await resolver.resolve(NAME)
        world.failure, world.now = no_such_name(20), world.now + 90
        await resolver.resolve(NAME)
        await settled()
        with pytest.raises(HopError):
            await resolver.resolve(NAME)


async def test_a_slow_name_does_not_delay_others_and_look_ups_are_bounded() -> None:
    world = World()
    slow = [HostName(f"slow{number}.example") for number in range(9)]
    world.silent.update(slow)
    async with resolving(world, most_at_once=10) as resolver:
        waiting = [spawn("ask", resolver.resolve(host)) for host in slow]
        await settled()
        assert await resolver.resolve(NAME) == [world.address]
        world.silent.add(OTHER)
        waiting += [spawn("ask", resolver.resolve(host)) for host in (OTHER, HostName("c.example"))]
        await settled()
        assert world.at_once == 10
        assert HostName("c.example") not in world.asked
        assert await resolver.resolve(NAME) == [world.address]  # what is known waits for nobody
        await cancel(*waiting)


async def test_fixed_addresses_come_first_and_are_not_remembered() -> None:
    world = World()
    async with resolving(world) as resolver:
        await resolver.resolve(NAME)
        world.hosts[NAME] = [ip_address("192.0.2.9")]
        assert await resolver.resolve(NAME) == [ip_address("192.0.2.9")]
        world.hosts.clear()
        assert await resolver.resolve(NAME) == [world.address]
