"""Undoing steps: last first, each for itself, telling what was done."""

import asyncio

import pytest

from arcgate.agent import rollback as module
from arcgate.agent.rollback import Rollback
from arcgate.core.errors import StateError

pytestmark = pytest.mark.anyio


async def test_the_last_step_is_undone_first_and_each_is_told_of() -> None:
    rollback, told = Rollback(), list[str]()
    undone: list[str] = []
    for name in ("one", "two"):
        rollback.add_file(name, lambda name=name: undone.append(name))  # type: ignore[misc]
    assert await rollback.run(told.append)
    assert undone == ["two", "one"]
    assert told == ["Rolled back: two", "Rolled back: one"]


async def test_a_step_that_cannot_be_undone_is_told_of_and_stops_no_other() -> None:
    rollback, told = Rollback(), list[str]()

    async def fail() -> bool:
        raise StateError("BROKEN", "It is broken.")

    rollback.add_file("one", lambda: None)
    rollback.add("two", fail)
    assert not await rollback.run(told.append)
    assert told[0].startswith("Not rolled back: two. BROKEN")
    assert told[1] == "Rolled back: one"


async def test_a_step_with_nothing_to_undo_is_not_told_of() -> None:
    rollback, told = Rollback(), list[str]()

    async def nothing() -> bool:
        return False

    rollback.add("one", nothing)
    assert await rollback.run(told.append)
    assert told == []


async def test_a_step_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNDO_TIMEOUT", 0.01)
    rollback, told = Rollback(), list[str]()

    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    rollback.add("one", hang)
    assert not await rollback.run(told.append)
    assert told == ["Not rolled back: one. it took too long"]


async def test_a_second_run_undoes_nothing_again() -> None:
    rollback = Rollback()
    undone: list[int] = []
    rollback.add_file("one", lambda: undone.append(1))
    await rollback.run(lambda _text: None)
    await rollback.run(lambda _text: None)
    assert undone == [1]
