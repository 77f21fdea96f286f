"""The agent's services in the foreground, for containers and systems without a manager of services.

When one of them ends, the others are ended too: whoever started us decides about a new start.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from arcgate.agent.errors import AzcmError
from arcgate.net.tasks import spawn

SERVICES = ("himdsd", "arcproxyd", "extd")
STOP_TIMEOUT = 75.0
"""Seconds that the services get to end after a signal; the tunnels of Arc Proxy end meanwhile."""

_FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP")
_log = structlog.get_logger(__name__)


def programs_beside(command: Path) -> list[Path]:
    """Return the services' programs, which stand beside the command's own; raises AzcmError 6."""
    found = [command.resolve().with_name(name) for name in SERVICES]
    for one in found:
        if not one.is_file():
            raise AzcmError(6, f"{one} is missing.", remedy="Install the agent anew.")
    return found


async def run_services(programs: Sequence[Path]) -> int:
    """Run them until a signal or until one ends; return 0 after a signal, or the exit code of the one that ended."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in _FORWARDED:
        if (number := getattr(signal, name, None)) is not None:
            with contextlib.suppress(NotImplementedError):  # Windows' loops have no signal handlers
                loop.add_signal_handler(number, stopping.set)
    running: list[asyncio.subprocess.Process] = []
    try:
        for program in programs:
            one = await asyncio.create_subprocess_exec(str(program), stdin=asyncio.subprocess.DEVNULL)
            running.append(one)
        return await _first_end(running, stopping)
    except OSError as error:
        raise AzcmError(6, "A service of the agent can't be started.", cause=str(error)) from None
    finally:
        await _end(running)


async def _first_end(running: Sequence[asyncio.subprocess.Process], stopping: asyncio.Event) -> int:
    ends = [spawn("wait for a service", one.wait()) for one in running]
    asked = spawn("wait for a signal", stopping.wait())
    await asyncio.wait([*ends, asked], return_when=asyncio.FIRST_COMPLETED)
    try:
        if stopping.is_set():
            return 0
        number = next(place for place, end in enumerate(ends) if end.done())
        _log.error("a service ended", service=SERVICES[number], code=ends[number].result())
        return max(1, ends[number].result())
    finally:
        for task in (*ends, asked):
            task.cancel()


async def _end(running: Sequence[asyncio.subprocess.Process]) -> None:
    for one in running:
        with contextlib.suppress(ProcessLookupError):
            one.terminate()
    for one in running:
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await one.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            await one.wait()


def own_program() -> Path:
    """Return the file that this command was started as."""
    return Path(sys.argv[0])
