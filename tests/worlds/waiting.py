"""Waiting on conditions, each with a deadline: tests never sleep for a guessed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")
SETTLE = 30.0
"""Seconds that a condition gets unless the caller says otherwise; generous, since machines are slow at times."""


class Unready(AssertionError):
    """A condition did not come true in time."""


def wait_until(condition: Callable[[], Value], what: str, deadline: float = SETTLE) -> Value:
    """Return the first true value of what other processes do; raises Unready after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise Unready(f"after {deadline:g} seconds still not so: {what}")
        time.sleep(0.02)
    return value


async def until(condition: Callable[[], object], deadline: float = 10, *, what: str = "") -> None:
    """Return as soon as the condition holds; raises AssertionError after `deadline` seconds."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + deadline
    while not condition():
        if loop.time() > latest:
            raise AssertionError(f"not within {deadline:g} s: {what or condition}")
        await asyncio.sleep(0.002)


async def until_so(condition: Callable[[], Awaitable[object]], deadline: float = 10) -> None:
    """Return as soon as the question is answered with a true value; raises AssertionError after `deadline` seconds."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + deadline
    while not await condition():
        if loop.time() > latest:
            raise AssertionError(f"not within {deadline:g} s: {condition}")
        await asyncio.sleep(0.002)


async def settled(turns: int = 50) -> None:
    """Let everything that can run without outside events run."""
    for _ in range(turns):
        await asyncio.sleep(0)
