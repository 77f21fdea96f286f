"""The supervisor with real child processes."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from arcgate.cli.child_process import ChildSpec
from arcgate.cli.supervisor import Supervisor
from arcgate.core.errors import StateError
from arcgate.net.listener import listen
from worlds.waiting import until

pytestmark = pytest.mark.anyio

READY = """
import json, os, signal, sys, time
ready = int(sys.argv[sys.argv.index("--ready-fd") + 1])
os.write(ready, json.dumps({"ready": True, "pid": os.getpid()}).encode() + b"\\n")
os.close(ready)
"""
SLEEP = "import time\ntime.sleep(60)\n"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def child(
    code: str, role: str = "gateway", descriptors: tuple[int, ...] = (), *, reports_ready: bool = True
) -> ChildSpec:
    return ChildSpec(role, role, (sys.executable, "-c", code), descriptors, reports_ready=reports_ready)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def test_a_child_that_reports_is_ready_and_is_stopped_in_the_end() -> None:
    supervisor = Supervisor()
    await supervisor.start_all([child(READY + SLEEP), child(READY + SLEEP, "control")])
    pids = [pid for group in supervisor.pids.values() for pid in group]
    assert len(pids) == 2
    await supervisor.stop(1)
    assert not any(is_alive(pid) for pid in pids)
    assert supervisor.pids == {}


async def test_ctrl_c_of_the_terminal_is_left_to_the_supervisor() -> None:
    supervisor = Supervisor()
    await supervisor.start_all([child("import os\nos.kill(os.getpid(), 2)\n" + READY + SLEEP)])
    assert supervisor.children[0].restarts == 0
    await supervisor.stop(1)


async def test_a_child_that_is_killed_is_started_again() -> None:
    supervisor = Supervisor()
    await supervisor.start_all([child(READY + SLEEP)])
    [first] = supervisor.pids["gateway"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pids.get("gateway", [first]) != [first])
    assert supervisor.children[0].restarts == 1
    await supervisor.stop(1)


async def test_a_child_that_ends_before_it_is_ready_fails_the_start() -> None:
    supervisor = Supervisor()
    with pytest.raises(StateError, match="exit code 3"):
        await supervisor.start_all([child("raise SystemExit(3)")])
    await supervisor.stop(1)


async def test_a_program_that_is_not_there_fails_the_start() -> None:
    supervisor = Supervisor()
    with pytest.raises(StateError, match="can't be started"):
        await supervisor.start_all([ChildSpec("gateway", "gateway", ("/nowhere/at/all",))])
    await supervisor.stop(1)


async def test_a_child_that_says_nonsense_is_not_ready() -> None:
    supervisor = Supervisor()
    nonsense = READY.replace('{"ready": True', '{"ready": False')
    with pytest.raises(StateError, match="before it was ready"):
        await supervisor.start_all([child(nonsense)])
    await supervisor.stop(1)


async def test_a_deaf_child_is_killed_after_the_patience() -> None:
    supervisor = Supervisor()
    await supervisor.start_all([child(READY.replace("ready = ", DEAF + "ready = ", 1) + SLEEP)])
    [pid] = supervisor.pids["gateway"]
    await supervisor.stop(0.1, 0.1)
    assert not is_alive(pid)


async def test_asking_twice_kills_at_once() -> None:
    supervisor = Supervisor()
    await supervisor.start_all([child(READY.replace("ready = ", DEAF + "ready = ", 1) + SLEEP)])
    supervisor.ask_to_stop()
    supervisor.ask_to_stop()
    await supervisor.stop(60)
    assert supervisor.pids == {}


async def test_asking_to_stop_ends_the_wait_for_readiness() -> None:
    supervisor = Supervisor()
    never = child(SLEEP)
    waiting = asyncio.create_task(supervisor.start_all([never]))  # noqa: TID251 - the test's own task
    await until(lambda: bool(supervisor.pids))
    supervisor.ask_to_stop()
    await waiting
    await supervisor.stop(1)


async def test_connections_wait_while_a_child_restarts() -> None:
    accept_once = "import socket\nlistening = socket.socket(fileno=int(sys.argv[1]))\nlistening.accept()\n"
    listening = listen("127.0.0.1", 0)
    number = listening.fileno()
    code = (
        READY + f"sys.argv.insert(1, '{number}')\n" + accept_once + "listening.accept()[0].sendall(b'again')\n" + SLEEP
    )
    supervisor = Supervisor()
    try:
        await supervisor.start_all([child(code, descriptors=(number,))])
        os.kill(supervisor.pids["gateway"][0], signal.SIGKILL)
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(2)]
            for one in clients:
                one.setblocking(False)
                await loop.sock_connect(one, listening.getsockname())
            async with asyncio.timeout(20):
                assert await loop.sock_recv(clients[1], 5) == b"again"
    finally:
        await supervisor.stop(1)
        listening.close()


async def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from arcgate.cli.child_process import ChildSpec
from arcgate.cli.supervisor import Supervisor

async def main():
    supervisor = Supervisor()
    supervisor.start(ChildSpec("gateway", "gateway", (sys.executable, "-c", {SLEEP!r}), reports_ready=False))
    while not supervisor.pids:
        await asyncio.sleep(0.01)
    print(supervisor.pids["gateway"][0], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await until(lambda: not is_alive(pid))
