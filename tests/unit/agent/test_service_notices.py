"""What the services tell systemd: readiness, the end, and that the loop turns; nothing to anybody else."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcgate.agent.service_notices import ServiceNotices
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.setblocking(False)
        yield one


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def environment(manager: socket.socket, **others: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **others}


async def test_the_manager_hears_of_readiness_and_the_end(manager: socket.socket) -> None:
    notices = ServiceNotices.take(environment(manager))
    async with notices.alive():
        notices.ready()
    notices.stopping()
    assert heard(manager) == ["READY=1", "STOPPING=1"]


async def test_a_loop_that_turns_is_told_again_and_again(manager: socket.socket) -> None:
    notices = ServiceNotices.take(environment(manager, WATCHDOG_USEC="30000"))
    told: list[str] = []

    def three_pings() -> bool:
        told.extend(heard(manager))
        return len(told) >= 3

    async with notices.alive():
        await until(three_pings, what="three pings")
    assert set(told) == {"WATCHDOG=1"}


async def test_a_loop_that_hangs_tells_nothing(manager: socket.socket) -> None:
    async with ServiceNotices.take(environment(manager, WATCHDOG_USEC="30000")).alive():
        await until(lambda: heard(manager), what="a first ping")
        time.sleep(0.05)  # noqa: ASYNC251 - this is the hang
        assert heard(manager) == []


async def test_the_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    variables = environment(manager, WATCHDOG_USEC="1000", WATCHDOG_PID=str(os.getpid() + 1))
    async with ServiceNotices.take(variables).alive():
        await asyncio.sleep(0)
    assert heard(manager) == []


@pytest.mark.parametrize("period", ["", "0", "-1", "1e3", "x", "1" * 30, "\u0661"])
async def test_a_period_that_is_no_number_means_no_watchdog(manager: socket.socket, period: str) -> None:
    async with ServiceNotices.take(environment(manager, WATCHDOG_USEC=period)).alive():
        await asyncio.sleep(0)
    assert heard(manager) == []


def test_children_do_not_inherit_the_managers_variables(manager: socket.socket) -> None:
    variables = environment(manager, WATCHDOG_USEC="1", WATCHDOG_PID="1", PATH="/bin")
    ServiceNotices.take(variables)
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    ServiceNotices.take({"NOTIFY_SOCKET": address}).ready()


def test_a_name_in_the_abstract_namespace_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        name = f"arcgate-test-{os.getpid()}"
        one.bind(f"\0{name}")
        one.setblocking(False)
        ServiceNotices.take({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert heard(one) == ["READY=1"]
