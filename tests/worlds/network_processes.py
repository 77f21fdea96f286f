"""Processes of a test network: short commands and services with a log file, ended with the network.

Only the process groups that were started here are ever signalled.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worlds.waiting import SETTLE, Unready, wait_until

LAST_WORDS = 4000
"""Characters of each log that a failure shows."""
# A service dies with the thread that started it: a killed test run leaves no process behind.
DIE_TOGETHER = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    argv: Sequence[str]
    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Both streams, for a look with `in`."""
        return self.output + self.errors

    def succeeded(self) -> "Finished":
        """Return itself; raises AssertionError with all it said when its exit code isn't 0."""
        assert self.code == 0, f"{' '.join(self.argv)} ended with {self.code}:\n{self.text}"
        return self


def execute(argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float = 60) -> Finished:
    """Run a command to its end; an exit code other than 0 is for the caller to judge."""
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            _signal_group(process.pid, signal.SIGKILL)
            raise
    return Finished(argv, process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


@dataclass
class Service:
    """A process that runs until it is stopped; what it says goes to a file."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> "Service":
        """Start it (again); the log goes on."""
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_TOGETHER, *self.argv],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id, which is its process group too."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def words(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def ready_when(self, condition: Callable[[], object], what: str, deadline: float = SETTLE) -> "Service":
        """Wait for the condition; raises Unready at once when the process ends before it."""

        def ready_or_dead() -> object:
            return condition() or not self.is_running

        try:
            wait_until(ready_or_dead, f"{self.name}: {what}", deadline)
        except Unready as error:
            raise Unready(f"{error}\n{self.last_words()}") from None
        if not self.is_running:
            raise Unready(f"{self.name} has ended with {self.code} instead of: {what}\n{self.last_words()}")
        return self

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, patience: float = 10) -> int | None:
        """Ask it to end, insist after `patience` seconds, and return its exit code."""
        if self._process is None:
            return None
        _signal_process(self._process.pid, signal.SIGTERM, self._process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        return self.kill()

    def kill(self) -> int | None:
        """End the whole process group at once, as a power cut would."""
        if self._process is None:
            return None
        # Once it has been waited for, the number may be another's; stragglers end with their namespace.
        if self._process.poll() is None:
            _signal_group(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        assert self._process is not None
        _signal_process(self._process.pid, number, self._process)

    def last_words(self) -> str:
        """The end of its log."""
        return last_words(self.log)


def last_words(log: Path) -> str:
    """Return the end of a log file."""
    return log.read_text(errors="replace")[-LAST_WORDS:] if log.exists() else ""


def _signal_process(pid: int, number: signal.Signals, process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.kill(pid, number)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(group, number)
