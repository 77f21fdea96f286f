"""Tokens of the machine's identity: when they are fetched, and what happens while they can't be."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from arcgate.agent.agent_service import AgentService, IdentityToken
from arcgate.agent.himds.identity_tokens import (
    EARLY,
    FETCH_PERIOD,
    MOST_FETCHES,
    MOST_RESOURCES,
    RETRY,
    IdentityTokens,
)
from arcgate.agent.http import Problem, ServiceRefusal
from arcgate.core.errors import ArcgateError, Hop, HopError, InputError
from arcgate.net.tasks import spawn

pytestmark = pytest.mark.anyio

RESOURCE = "https://a.example/"
LIFE = 3600
DOWN = HopError(Hop.TCP, "TCP_REFUSED", "The cloud refused the connection.")
GONE = ServiceRefusal(404, Problem("MachineNotFound", "There is no such machine.", {}))
BROKEN = ServiceRefusal(500, Problem("InternalError", "It is broken.", {}))


class World:
    """An agent service and the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.asked: list[str] = []
        self.failure: ArcgateError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.was_asked = asyncio.Event()
        self.clock_offset = timedelta()

    def clock(self) -> datetime:
        return datetime(2026, 5, 4, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def token(self, resource: str) -> IdentityToken:
        self.asked.append(resource)
        self.was_asked.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        end = (self.clock() + self.clock_offset).timestamp() + LIFE
        return IdentityToken(f"token-{len(self.asked)}", int(end), resource)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def tokens(world: World) -> AsyncIterator[IdentityTokens]:
    made = IdentityTokens(cast("AgentService", world), world.clock, lambda: world.seconds)
    yield made
    await made.close()


async def test_a_token_is_fetched_once_until_it_nears_its_end(world: World, tokens: IdentityTokens) -> None:
    first = await tokens.token(RESOURCE)
    world.seconds = LIFE - EARLY - 1
    assert await tokens.token(RESOURCE) is first
    world.seconds += 1
    assert await tokens.token(RESOURCE) is not first
    assert len(world.asked) == 2


async def test_each_resource_has_its_own_token(world: World, tokens: IdentityTokens) -> None:
    one, other = await tokens.token("https://a"), await tokens.token("https://b")
    assert (one.resource, other.resource) == ("https://a", "https://b")


async def test_a_client_may_bypass_what_is_kept(world: World, tokens: IdentityTokens) -> None:
    first = await tokens.token(RESOURCE)
    second = await tokens.token(RESOURCE, bypass_cache=True)
    assert second is not first
    assert await tokens.token(RESOURCE) is second


async def test_clients_that_ask_at_once_share_one_request(world: World, tokens: IdentityTokens) -> None:
    world.gate.clear()
    asking = asyncio.gather(*(tokens.token(RESOURCE) for _ in range(20)))
    await world.was_asked.wait()
    world.gate.set()
    assert len({one.access_token for one in await asking}) == 1
    assert len(world.asked) == 1


async def test_a_client_that_goes_away_takes_nothing_from_the_others(world: World, tokens: IdentityTokens) -> None:
    world.gate.clear()
    hasty = spawn("client", tokens.token(RESOURCE))
    patient = spawn("client", tokens.token(RESOURCE))
    await world.was_asked.wait()
    hasty.cancel()
    world.gate.set()
    assert (await patient).access_token == "token-1"


async def test_who_waits_while_the_identity_ends_is_told_so(world: World, tokens: IdentityTokens) -> None:
    world.gate.clear()
    waiting = spawn("client", tokens.token(RESOURCE))
    await world.was_asked.wait()
    await tokens.close()
    with pytest.raises(InputError) as caught:
        await waiting
    assert caught.value.code == "IdentityChanged"


@pytest.mark.parametrize("failure", [DOWN, BROKEN])
async def test_a_token_serves_until_its_end_while_the_cloud_is_down(
    world: World, tokens: IdentityTokens, failure: ArcgateError
) -> None:
    first = await tokens.token(RESOURCE)
    world.failure = failure
    world.seconds = LIFE - 10
    assert await tokens.token(RESOURCE) is first
    world.seconds = LIFE
    with pytest.raises(type(failure)):
        await tokens.token(RESOURCE)


async def test_a_cloud_that_is_down_is_not_asked_for_each_request(world: World, tokens: IdentityTokens) -> None:
    await tokens.token(RESOURCE)
    world.failure, world.seconds = DOWN, LIFE - EARLY
    for _ in range(5):
        await tokens.token(RESOURCE)
    assert len(world.asked) == 2
    world.seconds += RETRY
    world.failure = None
    assert (await tokens.token(RESOURCE)).access_token == "token-3"


async def test_who_bypasses_what_is_kept_learns_of_the_failure(world: World, tokens: IdentityTokens) -> None:
    await tokens.token(RESOURCE)
    world.failure = DOWN
    with pytest.raises(HopError):
        await tokens.token(RESOURCE, bypass_cache=True)


async def test_a_deleted_machines_token_is_not_given_out_once_that_is_known(
    world: World, tokens: IdentityTokens
) -> None:
    await tokens.token(RESOURCE)
    world.failure, world.seconds = GONE, LIFE - 10
    for _ in range(2):
        with pytest.raises(ServiceRefusal):
            await tokens.token(RESOURCE)


async def test_the_servers_clock_says_when_a_token_ends(world: World, tokens: IdentityTokens) -> None:
    world.clock_offset = timedelta(hours=5)
    token = await tokens.token(RESOURCE)
    assert tokens.seconds_left(token) == LIFE


async def test_programs_can_not_use_up_the_machines_requests(world: World, tokens: IdentityTokens) -> None:
    for _ in range(MOST_FETCHES):
        await tokens.token(RESOURCE, bypass_cache=True)
    with pytest.raises(InputError) as caught:
        await tokens.token("https://other")
    assert caught.value.code == "TooManyRequests"
    await tokens.token(RESOURCE)
    world.seconds = FETCH_PERIOD
    await tokens.token("https://other")
    assert len(world.asked) == MOST_FETCHES + 1


async def test_the_number_of_kept_tokens_is_bounded(world: World, tokens: IdentityTokens) -> None:
    for number in range(MOST_RESOURCES + 1):
        world.seconds += FETCH_PERIOD / MOST_FETCHES
        await tokens.token(f"https://{number}")
    asked = len(world.asked)
    await tokens.token(f"https://{MOST_RESOURCES}")
    assert len(world.asked) == asked
    world.seconds += FETCH_PERIOD
    await tokens.token("https://0")
    assert len(world.asked) == asked + 1
