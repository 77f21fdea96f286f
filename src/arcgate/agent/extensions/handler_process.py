"""Runs one command of a handler: in a process group of its own, bounded in time, with the end of its output kept.

A command that leaves something running in the background has ended when its own process has: nobody waits until the
last writer of its output is gone.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcgate.core.audit import printable

KEPT_OUTPUT = 64 * 1024
"""Bytes of a command's output that are kept, the last ones."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a command that takes too long."""


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended: its exit code, negative for a signal; None after a time-out or without a start."""

    code: int | None
    output: bytes = b""
    problem: str = ""

    @property
    def failure(self) -> str:
        """Why it failed, in words that follow its name; empty after a success."""
        if self.problem:
            return self.problem
        if self.code == 0:
            return ""
        code = self.code or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last = printable(" ".join(self.output.decode(errors="replace").split()[-60:]), 600)
        return f"{how}: {last}" if last else f"{how}, and said nothing"


class _Tail:
    """Takes what comes out of a pipe, and keeps the end of it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write_end, True)
        self.kept = bytearray()
        asyncio.get_running_loop().add_reader(self.read_end, self.take)

    def take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.read_end, KEPT_OUTPUT):
                self.kept += data
                del self.kept[:-KEPT_OUTPUT]
                if len(data) < KEPT_OUTPUT:
                    return
            asyncio.get_running_loop().remove_reader(self.read_end)

    def close(self) -> bytes:
        asyncio.get_running_loop().remove_reader(self.read_end)
        os.close(self.read_end)
        return bytes(self.kept)


async def run_command(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float, given: bytes = b""
) -> CommandEnd:
    """Run a program in a folder to its end; `given` is what it reads from standard input."""
    tail = _Tail()
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=tail.write_end,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        tail.close()
        return CommandEnd(None, problem=f"could not be started: {error.strerror or error}")
    finally:
        os.close(tail.write_end)
    try:
        async with asyncio.timeout(timeout):
            await _give(process, given)
            code: int | None = await process.wait()
        problem = ""
    except TimeoutError:
        code, problem = None, f"did not end within {timeout:g} s, and was killed with all that it had started"
    finally:
        await _end(process)
        tail.take()
        output = tail.close()
    return CommandEnd(code, output, problem)


async def _give(process: asyncio.subprocess.Process, given: bytes) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(given)
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole group of a process that still runs."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()
                break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what the first one left behind
