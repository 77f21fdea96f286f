"""Signals that end a command: what it began is undone, or finished, and no further signal tears it out of that."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from arcgate.agent.errors import AzcmError

Result = TypeVar("Result")

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def run_interruptible(work: Coroutine[Any, Any, Result], cancelled: str) -> Result:
    """Run the work to its end; the first signal cancels it, which raises AzcmError 11 with the sentence `cancelled`."""
    return asyncio.run(_cancelled_by_signals(work, cancelled))


async def _cancelled_by_signals(work: Coroutine[Any, Any, Result], cancelled: str) -> Result:
    task = asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        if not task.cancelling():
            task.cancel()

    for name in SIGNALS:
        number = getattr(signal, name, None)
        # Who is started by nohup is to outlive the terminal. Windows' loops have no handlers of signals.
        if number is not None and hasattr(signal, "SIGHUP") and signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise AzcmError(11, cancelled) from None
