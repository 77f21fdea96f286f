"""Tasks have names, are kept until they end, and tell when they crash."""

import asyncio
import gc

import pytest
from structlog.testing import capture_logs

from arcgate.core.errors import StateError
from arcgate.net.backoff import Backoff
from arcgate.net.tasks import cancel, repeat, spawn
from worlds.waiting import settled

pytestmark = pytest.mark.anyio


async def test_a_task_has_its_name_and_result() -> None:
    async def work() -> int:
        return 7

    task = spawn("count to seven", work())
    assert task.get_name() == "count to seven"
    assert await task == 7


async def test_a_task_that_nobody_references_runs_to_its_end() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        done.set()

    spawn("unreferenced", work())
    gc.collect()
    await asyncio.wait_for(done.wait(), 5)


async def test_a_crash_is_logged_with_the_tasks_name() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with capture_logs() as logs:
        task = spawn("fragile", work())
        await settled()
    assert [(entry["log_level"], entry["task"]) for entry in logs] == [("error", "fragile")]
    assert isinstance(task.exception(), ValueError)


async def test_a_cancelled_task_is_no_crash() -> None:
    with capture_logs() as logs:
        task = spawn("patient", asyncio.sleep(100))
        await settled()
        await cancel(task)
    assert task.cancelled()
    assert logs == []


async def test_cancelling_waits_until_the_tasks_have_cleaned_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    tasks = [spawn("one", work()), spawn("two", work())]
    await settled()
    await cancel(*tasks)
    assert cleaned == [True, True]
    await cancel()
    await cancel(*tasks)


async def test_a_step_that_fails_in_whatever_way_is_tried_again() -> None:
    failures: list[Exception] = [StateError("ODD", "It is odd."), OSError("no space"), KeyError("a defect")]
    done = asyncio.Event()

    async def step() -> float:
        if failures:
            raise failures.pop(0)
        done.set()
        return 60

    with capture_logs() as logs:
        work = spawn("steps", repeat("do it", step, Backoff(lambda: 0.0, first=0.001)))
        await asyncio.wait_for(done.wait(), 10)
        await cancel(work)
    assert [entry["log_level"] for entry in logs] == ["warning", "warning", "error"]
    assert all(entry["what"] == "do it" for entry in logs)
