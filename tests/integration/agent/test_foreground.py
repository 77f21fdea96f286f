"""`azcmagent run`: all services in the foreground, signals passed on, one end for them; and what systemd hears."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import is_running
from arcgate.net.files import write_json
from worlds.tls_server import free_socket
from worlds.waiting import wait_until

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    with free_socket() as one, free_socket() as other:
        ports = {"arcproxy.port": one.getsockname()[1], "himds.port": other.getsockname()[1]}
    write_json(home / "localconfig.json", ports)
    return {"PATH": os.environ["PATH"], "AZCMAGENT_HOME": str(home), "AZCMAGENT_CLOUDS": str(tmp_path / "clouds")}


@contextmanager
def started(environment: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def services(environment: dict[str, str]) -> list[bool]:
    paths = AgentPaths.from_environment(environment)
    return [is_running(path) for path in (paths.himdsd_lock, paths.arcproxyd_lock, paths.extd_lock)]


def arc_proxy_process(environment: dict[str, str]) -> int:
    state = AgentPaths.from_environment(environment).arcproxy_state
    document = json.loads(state.read_text()) if state.exists() else {}
    return int(document.get("pid", 0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_command_runs_all_services_until_a_signal_ends_them(environment: dict[str, str], number: int) -> None:
    with started(environment, str(BIN / "azcmagent"), "run") as process:
        wait_until(lambda: services(environment) == [True, True, True], "all services run")
        wait_until(lambda: arc_proxy_process(environment), "Arc Proxy works")
        process.send_signal(number)
        assert process.wait(30) == 0
    assert services(environment) == [False, False, False]


def test_when_one_service_dies_the_others_are_ended_and_the_exit_code_tells(environment: dict[str, str]) -> None:
    with started(environment, str(BIN / "azcmagent"), "run") as process:
        wait_until(lambda: services(environment) == [True, True, True], "all services run")
        os.kill(wait_until(lambda: arc_proxy_process(environment), "Arc Proxy works"), signal.SIGKILL)
        assert process.wait(30) == 1
    assert services(environment) == [False, False, False]


@pytest.mark.parametrize("program", ["himdsd", "arcproxyd", "extd"])
def test_systemd_hears_that_a_service_is_ready_lives_and_stops(
    environment: dict[str, str], tmp_path: Path, program: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with started({**environment, **variables}, str(BIN / program)) as process:
            assert {manager.recv(100), manager.recv(100)} == {b"READY=1", b"WATCHDOG=1"}
            process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            assert process.wait(30) == 0
