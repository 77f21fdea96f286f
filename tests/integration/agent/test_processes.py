"""The programs as processes: what `ps` shows of them, how they end, and that there is one of each service."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, is_running, write_identity
from arcgate.net.files import write_json
from worlds.agent_cloud import definition
from worlds.authority import Authority
from worlds.waiting import wait_until

BIN = Path(sys.executable).parent
SECRET = "hunter2-is-not-for-everybody"
GUID = "22222222-2222-4222-8222-222222222222"
PATIENCE = 30.0


class SilentCloud:
    """A host that accepts connections and never answers: whoever talks to it waits."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []
        self.called = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listening.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                self.accepted.append(self.listening.accept()[0])
            except OSError:
                return
            self.called.set()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self._thread.join()
        for one in self.accepted:
            one.close()


@pytest.fixture
def silent_cloud() -> Iterator[SilentCloud]:
    cloud = SilentCloud()
    yield cloud
    cloud.close()


@pytest.fixture
def environment(tmp_path: Path, authority: Authority, silent_cloud: SilentCloud) -> dict[str, str]:
    front = {"front": "abc.gw.arcgate.test:443", "address": silent_cloud.address}
    write_json(tmp_path / "clouds" / "arcgate.json", {**definition(authority), **front})
    home, clouds = str(tmp_path / "home"), str(tmp_path / "clouds")
    return {"PATH": os.environ["PATH"], "AZCMAGENT_HOME": home, "AZCMAGENT_CLOUDS": clouds}


@contextmanager
def started(environment: dict[str, str], program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [str(BIN / program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _connect(environment: dict[str, str], *secrets: str) -> list[str]:
    return ["connect", "-g", "servers", "-l", "eastus", "-s", "Main", "-t", "tenant", "-n", "box", *secrets]


@pytest.mark.parametrize(
    "secrets",
    [
        ("-i", "app", "-p", SECRET),
        ("-i", "app", f"--service-principal-secret={SECRET}"),
        ("--access-token", SECRET),
    ],
)
def test_a_secret_argument_is_in_nobodys_view_of_the_process(
    environment: dict[str, str], silent_cloud: SilentCloud, secrets: tuple[str, ...]
) -> None:
    with started(environment, "azcmagent", *_connect(environment, *secrets)) as process:
        # By the time of the first connection the command has read its arguments and works.
        assert silent_cloud.called.wait(PATIENCE)
        proc = Path("/proc", str(process.pid))
        assert SECRET.encode() not in (proc / "cmdline").read_bytes()
        assert b"connect\0-g\0servers" in (proc / "cmdline").read_bytes()
        assert SECRET.encode() not in (proc / "environ").read_bytes()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 11
    assert SECRET not in output
    for path in Path(environment["AZCMAGENT_HOME"]).rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_connect_ends_at_a_signal_as_cancelled(
    environment: dict[str, str], silent_cloud: SilentCloud, number: signal.Signals
) -> None:
    with started(environment, "azcmagent", *_connect(environment, "--access-token", SECRET)) as process:
        assert silent_cloud.called.wait(PATIENCE)
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 11
    assert "Exit Code: AZCM0011: Cancelled" in output
    assert "Traceback" not in output


def test_disconnecting_offline_changes_nothing_and_says_what_can_be_done(
    environment: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        front = {"front": "abc.gw.arcgate.test:443", "address": f"127.0.0.1:{closed.getsockname()[1]}"}
        write_json(tmp_path / "clouds" / "arcgate.json", {**definition(authority), **front})
        paths = AgentPaths.from_environment(environment)
        write_identity(paths, AgentIdentity("s", "g", "m", "/m", "t", "eastus", GUID, "Arcgate"))
        with started(environment, "azcmagent", "disconnect", "--access-token", SECRET) as process:
            output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 26
    assert "--force-local-only" in output
    assert paths.agent_configuration.exists()


def test_settings_of_many_processes_at_once_are_all_kept(environment: dict[str, str]) -> None:
    ports = [str(port) for port in range(2000, 2008)]
    running = [
        subprocess.Popen(
            [str(BIN / "azcmagent"), "config", "set", "incomingconnections.ports", port, "--add"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for port in ports
    ]
    assert [process.wait(PATIENCE) for process in running] == [0] * len(ports)
    stored = json.loads(Path(environment["AZCMAGENT_HOME"], "localconfig.json").read_text())
    assert sorted(stored["incomingconnections.ports"]) == ports


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_himdsd_starts_on_a_machine_without_anything_and_ends_cleanly(
    environment: dict[str, str], number: signal.Signals
) -> None:
    paths = AgentPaths.from_environment(environment)
    with started(environment, "himdsd") as process:
        wait_until(paths.himds_log.exists, "it keeps a log")
        wait_until(lambda: is_running(paths.himdsd_lock) and "waiting for" in paths.himds_log.read_text(), "it waits")
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert not is_running(paths.himdsd_lock)


def test_a_second_himdsd_says_that_one_runs_and_ends(environment: dict[str, str]) -> None:
    paths = AgentPaths.from_environment(environment)
    with started(environment, "himdsd"):
        wait_until(lambda: is_running(paths.himdsd_lock), "the first one runs")
        with started(environment, "himdsd") as second:
            output, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert "ALREADY_RUNNING" in output


def test_himdsd_has_help(environment: dict[str, str]) -> None:
    with started(environment, "himdsd", "--help") as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "heartbeat" in output


def test_output_that_nobody_reads_is_no_trace(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [str(BIN / "azcmagent"), "show"],
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize(("arguments", "code"), [(("show",), 2), (("show", "-j"), 2), (("show", "nothing"), 23)])
def test_output_that_is_full_is_told_beside_it(
    environment: dict[str, str], arguments: tuple[str, ...], code: int
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(BIN / "azcmagent"), *arguments],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == code
    assert done.stderr.startswith(f"Exit Code: AZCM{code:04}")
    assert "\nRemedy: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_output_is_no_failure(environment: dict[str, str]) -> None:
    command = ["sh", "-c", f"exec '{BIN / 'azcmagent'}' show >&-"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
