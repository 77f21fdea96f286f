"""Memory of tunnels that were handed over goes back to the system, in one go for many of them."""

import asyncio

import pytest

from arcgate.net import freed_memory
from arcgate.net.freed_memory import MANY, FreedMemory
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(freed_memory, "trim_heap", lambda: done.append("trimmed"))
    monkeypatch.setattr(freed_memory, "PAUSE", 0)
    return done


async def test_a_few_wait_longer(trims: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    freed = FreedMemory.of(asyncio.get_running_loop())
    for _ in range(MANY - 1):
        freed.count()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not trims
    freed.count()
    await until(lambda: trims == ["trimmed"])
    monkeypatch.setattr(freed_memory, "LONG_PAUSE", 0)
    freed.count()
    await until(lambda: trims == ["trimmed", "trimmed"])


async def test_many_are_given_back_at_once_and_the_next_many_again(trims: list[str]) -> None:
    freed = FreedMemory.of(asyncio.get_running_loop())
    for _ in range(2 * MANY):
        freed.count()
    await until(lambda: trims == ["trimmed"])
    for _ in range(MANY):
        freed.count()
    await until(lambda: trims == ["trimmed", "trimmed"])


async def test_a_loop_has_one_count_of_its_own() -> None:
    loop = asyncio.get_running_loop()
    assert FreedMemory.of(loop) is FreedMemory.of(loop)


def test_the_c_library_is_asked_where_it_can() -> None:
    freed_memory.trim_heap()
