"""One supervised process: started, waited for until it is ready, restarted with back-off, stopped in the end.

A child inherits listening sockets, so that nothing is refused while it restarts, and reports readiness as one
JSON line on a pipe. It dies with its supervisor, even when that is killed.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from arcgate.core.errors import StateError
from arcgate.net.backoff import Backoff

STEADY = 60.0
"""Seconds after which a crash counts as the first one again."""
LONGEST_PAUSE = 10.0
"""Seconds between two starts of a child that keeps crashing."""

_log = structlog.get_logger("arcgate.supervisor")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `descriptors` are inherited; with `reports_ready`, `--ready-fd N` is added to the arguments."""

    role: str
    name: str
    arguments: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    reports_ready: bool = True


class ChildProcess:
    """Keeps one process running until `stop`."""

    def __init__(self, spec: ChildSpec, is_stopping: Callable[[], bool]) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.report: dict[str, Any] = {}
        self.restarts = 0
        self._is_stopping = is_stopping
        self._process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id, None while it is not running."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def keep_running(self) -> None:
        """Start the process, and again whenever it ends.

        Raises StateError (CHILD_FAILED) when it ends before it was ever ready: what is wrong will not mend itself.
        """
        backoff = Backoff(random.random, first=0.2, longest=LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        while not self._is_stopping():
            started = loop.time()
            try:
                code = await self._run_once()
            except OSError as error:
                raise StateError(
                    "CHILD_FAILED", f"{self.spec.name} can't be started.", cause=error.strerror or str(error)
                ) from None
            if self._is_stopping():
                return
            if not self.ready.is_set() and self.spec.reports_ready:
                raise StateError(
                    "CHILD_FAILED",
                    f"{self.spec.name} ended with {_describe(code)} before it was ready.",
                    remedy="Its own message stands above.",
                )
            if loop.time() - started > STEADY:
                backoff.reset()
            pause = backoff.next()
            self.restarts += 1
            _log.error("child ended, starting it again", child=self.spec.name, ended=_describe(code), pause=pause)
            await self._pause(pause)

    async def terminate(self, patience: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `patience` seconds."""
        self._changed.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            _log.warning("child did not end in time and is killed", child=self.spec.name, pid=process.pid)
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run_once(self) -> int:
        if not self.spec.reports_ready:
            process = await self._start((), self.spec.arguments)
            self.ready.set()
            return await process.wait()
        reading, writing = os.pipe()
        try:
            try:
                process = await self._start((writing,), (*self.spec.arguments, "--ready-fd", str(writing)))
            finally:
                os.close(writing)
            self._take_report(await _read_line(reading))
        finally:
            os.close(reading)
        return await process.wait()

    async def _start(self, descriptors: tuple[int, ...], arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        self._process = await self._spawn(descriptors, arguments)
        if self._is_stopping():
            # Whoever stops us has looked before it was there.
            self.kill()
        return self._process

    async def _spawn(self, descriptors: tuple[int, ...], arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        parent = os.getpid()
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=2,  # our own standard output is for what was asked of us
            pass_fds=(*self.spec.descriptors, *descriptors),
            env={**os.environ, **self.spec.environment},
            preexec_fn=lambda: _begin(parent),
        )

    def _take_report(self, line: bytes) -> None:
        try:
            report = json.loads(line) if line else {}
        except ValueError:
            report = {}
        if isinstance(report, dict) and report.get("ready"):
            self.report = report
            self.ready.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM at the parent's death; for a child, between fork and exec."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def _begin(parent: int) -> None:
    die_with(parent)
    # Ctrl-C reaches all processes of a terminal; the supervisor ends its own, also those that are still starting.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _read_line(descriptor: int) -> bytes:
    """Return the first line from a pipe, b"" when it is closed without one."""
    loop = asyncio.get_running_loop()
    line = b""
    os.set_blocking(descriptor, False)
    while b"\n" not in line and len(line) < 65536:
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            continue
        if not data:
            return b""
        line += data
    return line.partition(b"\n")[0]


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
