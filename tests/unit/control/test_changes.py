import asyncio

import pytest

from arcgate.control.changes import Changes
from arcgate.net.tasks import spawn

pytestmark = pytest.mark.anyio


async def _until_waiting(changes: Changes, number: int) -> None:
    async with asyncio.timeout(10):
        while changes.waiters != number:  # noqa: ASYNC110 - tasks must get their turns, there is nothing to signal
            await asyncio.sleep(0)


async def test_a_change_between_ticket_and_wait_is_not_missed() -> None:
    changes = Changes()
    ticket = changes.ticket("a")
    changes.notify(["a"])
    assert await changes.wait(ticket, 10)


async def test_a_waiter_wakes_for_its_topics_alone() -> None:
    changes = Changes()
    first = spawn("first", changes.wait(changes.ticket("a", "b"), 10))
    second = spawn("second", changes.wait(changes.ticket("c"), 10))
    await _until_waiting(changes, 3)
    changes.notify(["b", "b"])
    assert await first
    assert not second.done()
    changes.notify(["c"])
    assert await second
    assert changes.waiters == 0


async def test_waiting_ends_with_its_time() -> None:
    changes = Changes()
    assert not await changes.wait(changes.ticket("a"), 0.01)
    assert changes.waiters == 0


async def test_a_cancelled_waiter_is_forgotten() -> None:
    changes = Changes()
    task = spawn("waiter", changes.wait(changes.ticket("a"), 10))
    await _until_waiting(changes, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert changes.waiters == 0


async def test_closing_ends_all_waits_now_and_later() -> None:
    changes = Changes()
    task = spawn("waiter", changes.wait(changes.ticket("a"), 10))
    await _until_waiting(changes, 1)
    changes.close()
    assert not await task
    assert not await changes.wait(changes.ticket("a"), 10)


async def test_everybody_wakes_when_changes_may_have_been_missed() -> None:
    changes = Changes()
    before = changes.ticket("a")
    tasks = [spawn("waiter", changes.wait(changes.ticket(*topics), 10)) for topics in (("a", "b"), ("b",), ("c",))]
    await _until_waiting(changes, 4)
    changes.notify_all()
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert await changes.wait(before, 0)
    assert changes.waiters == 0
    assert not await changes.wait(changes.ticket("a", "c"), 0)
