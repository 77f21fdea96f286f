"""Nodes of the control plane that are killed in the middle of their work.

Run as a program, it loads the product once and forks a node for each line on its standard input, so that twenty
nodes take little longer to start than one. A node asks its own application to create and delete gateways, several
at once, and writes to a journal what it is about to ask for and what was answered.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcgate.control.app import create_app
from arcgate.control.building import open_control
from arcgate.core.configuration import Configuration
from worlds.asgi import ask

WORKERS = 4
NAMES_EACH = 2
LONGEST = 2000
"""Requests of one worker, should nobody ever kill it."""


@dataclass(frozen=True)
class Work:
    """What a node is to do."""

    configuration: str
    """As JSON."""
    group: str
    """Path of the resource group."""
    headers: dict[str, str]
    journal: str
    seed: int


class Killer:
    """Starts nodes and kills them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, work: Work) -> int:
        """Fork a node and return its process id."""
        return int(self._tell(json.dumps(work.__dict__)))

    def kill(self, pid: int) -> None:
        """Kill a node that runs, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        status = int(self._tell(str(pid)))
        assert os.WIFSIGNALED(status), f"the node had ended by itself: {status}"

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def killer(log: Path) -> Iterator[Killer]:
    """Yield what starts and kills nodes; their words go to the log."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worlds.killed_node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment,
        )
    with process:
        yield Killer(process)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    """Fork nodes, and wait for those that were killed."""
    for line in sys.stdin:
        document: Any = json.loads(line)
        if isinstance(document, int):
            _, answer = os.waitpid(document, 0)
        else:
            answer = os.fork()
            if answer == 0:
                _be_a_node(Work(**document))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _be_a_node(work: Work) -> None:
    try:
        asyncio.run(_serve(work))
    finally:
        os._exit(3)


async def _serve(work: Work) -> None:
    configuration = Configuration.model_validate_json(work.configuration)
    journal = os.open(work.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    async with open_control(configuration) as context:
        app = create_app(context)
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(_work(app, work, journal, number))


async def _work(app: Any, work: Work, journal: int, number: int) -> None:
    random_ = random.Random(f"{work.seed} {number}")
    for _ in range(LONGEST):
        name = f"gw-{number}-{random_.randrange(NAMES_EACH)}"
        method = random_.choice(("PUT", "DELETE"))
        path = f"{work.group}/providers/Microsoft.HybridCompute/gateways/{name}?api-version=2026-07-15"
        body = {"location": "eastus"} if method == "PUT" else None
        os.write(journal, f"asks {method} {name}\n".encode())
        reply = await ask(app, method, path, document=body, headers=work.headers)
        operation = reply.headers.get("azure-asyncoperation", "-")
        os.write(journal, f"got {method} {name} {reply.status} {operation}\n".encode())


if __name__ == "__main__":
    main()
