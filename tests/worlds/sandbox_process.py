"""`arcgate sandbox` as a process, and the operator's command against it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_LIMIT = 50.0
"""Seconds for a sandbox to be ready on a busy machine."""
STOP_LIMIT = 20.0
ARCGATE = str(Path(sys.executable).with_name("arcgate"))


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Return the document that a command which must succeed has printed."""
        assert self.code == 0, self
        return json.loads(self.output)


@dataclass
class SandboxProcess:
    """A sandbox that is ready. `profile` is the folder of the test's own login."""

    process: "subprocess.Popen[str]"
    ready: dict[str, Any]
    profile: Path
    errors: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.ready["folder"])

    def arcgate(self, *arguments: str, **environment: str) -> Ended:
        """Run `arcgate` with the test's own login."""
        return run(ARCGATE, *arguments, ARCGATE_CONFIG_DIR=str(self.profile), **environment)

    def shell(self, command: str, **environment: str) -> Ended:
        """Run a command line that the sandbox has told."""
        return run("/bin/sh", "-c", command, **environment)

    def azcmagent(self, *arguments: str) -> Ended:
        return self.shell(" ".join([self.ready["azcmagent"], *(shlex.quote(one) for one in arguments)]))

    def log_in(self, *options: str) -> None:
        """Log in as the sandbox's service principal."""
        who = ("--service-principal", "-u", self.ready["clientId"], "--tenant", self.ready["tenantId"])
        where = ("--endpoint", self.ready["arm"], "--ca", self.ready["ca"])
        ended = self.arcgate("login", *who, *where, *options, ARCGATE_CLIENT_SECRET=self.ready["clientSecret"])
        assert ended.code == 0, ended

    def pids(self) -> list[int]:
        return [pid for role, group in self.ready["pids"].items() if role != "supervisor" for pid in group]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_LIMIT)


def run(*arguments: str, **environment: str) -> Ended:
    """Run a program to its end."""
    finished = subprocess.run(
        arguments,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return Ended(finished.returncode, finished.stdout, finished.stderr)


@contextmanager
def sandbox_process(folder: Path, *options: str) -> Iterator[SandboxProcess]:
    """A sandbox with `--json` and more options; killed at the end if it is still there."""
    errors = folder / "sandbox.log"
    with (
        errors.open("w") as log,
        subprocess.Popen(
            [ARCGATE, "sandbox", "--json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, errors.read_text()
            yield SandboxProcess(process, json.loads(line), folder / "profile", errors)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and isn't reaped yet doesn't."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
