"""The sweep looks at everybody often enough, at nobody who has gone, and goes on whatever one of them does."""

import asyncio

import pytest

from arcgate.net import sweep as module
from arcgate.net.sweep import FINENESS, Sweep
from worlds.waiting import until

pytestmark = pytest.mark.anyio


class Watched:
    """Counts looks, and fails at each of them if it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.looks = 0
        self.fails = fails

    def look(self, now: float) -> None:
        assert now <= asyncio.get_running_loop().time()
        self.looks += 1
        if self.fails:
            raise ValueError("a defect")


def own_sweep() -> Sweep:
    return Sweep.of(asyncio.get_running_loop())


async def test_everybody_is_looked_at_again_and_again() -> None:
    sweep, all_watched = own_sweep(), [Watched() for _ in range(3)]
    for one in all_watched:
        sweep.add(one, 0.08)
    await until(lambda: all(one.looks >= 3 for one in all_watched))
    for one in all_watched:
        sweep.discard(one)


async def test_nobody_is_looked_at_after_it_was_discarded() -> None:
    sweep, gone, here = own_sweep(), Watched(), Watched()
    sweep.add(gone, 0.08)
    sweep.add(here, 0.08)
    sweep.discard(gone)
    await until(lambda: here.looks >= 3)
    assert gone.looks == 0
    sweep.discard(here)


async def test_a_short_time_out_makes_looks_more_frequent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 3600.0)
    sweep, patient, hasty = own_sweep(), Watched(), Watched()
    sweep.add(patient, 36_000)
    sweep.add(hasty, 0.08)
    await until(lambda: hasty.looks >= 1)
    sweep.discard(patient)
    sweep.discard(hasty)


async def test_a_defect_of_one_does_not_end_the_time_outs_of_the_others() -> None:
    sweep, broken, sound = own_sweep(), Watched(fails=True), Watched()
    sweep.add(broken, 0.08)
    sweep.add(sound, 0.08)
    await until(lambda: sound.looks >= 3)
    assert broken.looks >= 2
    sweep.discard(broken)
    sweep.discard(sound)


async def test_more_than_fit_into_one_turn_are_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    sweep, many = own_sweep(), [Watched() for _ in range(2 * FINENESS)]
    for one in many:
        sweep.add(one, 0.08)
    await until(lambda: all(one.looks for one in many))
    for one in many:
        sweep.discard(one)
