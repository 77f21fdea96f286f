"""Deadlines and the sweep that looks at them: late by little, never early, and nothing is left behind."""

import asyncio

import pytest

from arcgate.net.deadlines import within
from arcgate.net.sweep import AT_ONCE, Sweep
from arcgate.net.tasks import cancel, spawn
from worlds.waiting import settled

pytestmark = pytest.mark.anyio


class Watched:
    def __init__(self) -> None:
        self.looks: list[float] = []
        self.was_seen = asyncio.Event()

    def look(self, now: float) -> None:
        self.looks.append(now)
        self.was_seen.set()


async def test_a_block_that_takes_too_long_is_a_time_out_and_not_early() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(TimeoutError), within(0.1):
        await asyncio.Event().wait()
    assert loop.time() - begun >= 0.1
    await settled()  # the task itself has not been cancelled


async def test_a_block_that_is_quick_enough_is_left_alone() -> None:
    with within(0.05):
        await settled()
    await asyncio.sleep(0.1)


async def test_an_error_of_the_block_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="own"), within(1):
        raise ValueError("own")


async def test_the_inner_of_two_deadlines_passes_alone() -> None:
    with within(30):
        with pytest.raises(TimeoutError), within(0.05):
            await asyncio.Event().wait()
        await settled()


async def test_somebody_elses_cancellation_is_no_time_out() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            with within(30):
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = spawn("work", work())
    await settled()
    await cancel(task)
    assert ended == ["cancelled"]


async def test_every_watched_one_is_looked_at_also_when_there_are_very_many() -> None:
    sweep = Sweep.of(asyncio.get_running_loop())
    watched = [Watched() for _ in range(2 * AT_ONCE + 1)]
    for one in watched:
        sweep.add(one, 0.05)
    async with asyncio.timeout(5):
        for one in watched:
            await one.was_seen.wait()
    for one in watched:
        sweep.discard(one)


async def test_what_was_discarded_is_looked_at_no_more() -> None:
    sweep = Sweep.of(asyncio.get_running_loop())
    stays, goes = Watched(), Watched()
    sweep.add(stays, 0.05)
    sweep.add(goes, 0.05)
    sweep.discard(goes)
    async with asyncio.timeout(5):
        await stays.was_seen.wait()
    sweep.discard(stays)
    assert goes.looks == []


async def test_a_short_time_out_is_met_though_long_ones_came_first() -> None:
    sweep = Sweep.of(asyncio.get_running_loop())
    slow = Watched()
    sweep.add(slow, 3600)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError), within(0.08):
        await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() - begun < 1  # the long one alone would be looked at once a second
    sweep.discard(slow)
