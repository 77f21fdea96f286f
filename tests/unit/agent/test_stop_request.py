"""A wish that a service ends: from any thread, before or after its loop runs."""

import asyncio
import os
import signal
import threading

import pytest

from arcgate.agent.stop_request import StopRequest

pytestmark = pytest.mark.anyio


async def test_a_thread_can_ask() -> None:
    request = StopRequest()
    event = request.attach()
    assert not event.is_set()
    asking = threading.Thread(target=request.ask)
    asking.start()
    async with asyncio.timeout(10):
        await event.wait()
    asking.join()


async def test_a_wish_before_the_start_is_not_lost() -> None:
    request = StopRequest()
    request.ask()
    assert request.attach().is_set()


async def test_a_signal_asks_too() -> None:
    event = StopRequest().attach()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await event.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


def test_a_wish_after_the_loops_end_is_nothing() -> None:
    request = StopRequest()

    async def work() -> None:
        request.attach()

    asyncio.run(work())
    request.ask()
