"""Commands that a signal ends: what they began is undone once, whatever comes after the first signal."""

import asyncio
import os
import signal

import pytest

from arcgate.agent.commands.interruption import run_interruptible
from arcgate.agent.errors import AzcmError


async def _turn() -> None:
    """Let the loop look at what has arrived meanwhile."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_further_signals_do_not_stop_the_undoing(number: signal.Signals) -> None:
    undone: list[str] = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            os.kill(os.getpid(), number)
            await _turn()
            undone.append("all")
            raise

    with pytest.raises(AzcmError) as caught:
        run_interruptible(work(), "It was cancelled.")
    assert (caught.value.number, caught.value.sentence) == (11, "It was cancelled.")
    assert undone == ["all"]


def test_who_is_started_to_outlive_the_terminal_does() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await _turn()
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_interruptible(work(), "It was cancelled.") == "done"
    finally:
        signal.signal(signal.SIGHUP, before)
