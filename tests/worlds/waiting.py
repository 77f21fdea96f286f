"""Waiting on conditions, each with a deadline: tests never sleep for a guessed time."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], deadline: float = 10, *, what: str = "") -> None:
    """Return as soon as the condition holds; raises AssertionError after `deadline` seconds."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + deadline
    while not condition():
        if loop.time() > latest:
            raise AssertionError(f"not within {deadline:g} s: {what or condition}")
        await asyncio.sleep(0.002)


async def settled(turns: int = 50) -> None:
    """Let everything that can run without outside events run."""
    for _ in range(turns):
        await asyncio.sleep(0)
