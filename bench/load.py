"""Runs the load program (load.c), which make builds beside it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import Port

PROGRAM = Path(__file__).with_name("load")
PATIENCE = 300


def measure(*arguments: object) -> dict[str, float]:
    """Run one measurement to its end and return its figures."""
    command = [str(PROGRAM), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@contextmanager
def running(*arguments: object) -> Iterator[tuple[Port, int]]:
    """Run a service of the load program; gives its port and process id."""
    command = [str(PROGRAM), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


@contextmanager
def idle_tunnels(proxy: Port, target: Port, count: int) -> Iterator[None]:
    """Hold open tunnels that have done the hellos."""
    command = [str(PROGRAM), "idle", str(proxy), str(target), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise RuntimeError("the idle tunnels could not be opened")
            yield
        finally:
            process.kill()
