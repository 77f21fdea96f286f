"""`arcgate serve` from outside."""

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from worlds.sandbox_process import ARCGATE, STOP_LIMIT, is_alive, run
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arcgate.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'state_dir = "{tmp_path}/state"\n[listen]\naddresses = ["127.0.0.1"]\nport = 0\n'
        '[cloud]\nextra_names = ["localhost"]\n[gateway]\ndrain_timeout = 1\n'
    )
    return path


@contextmanager
def serving(file: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A server that is ready, and what it told."""
    with (
        (file.parent / "serve.log").open("a") as log,
        subprocess.Popen(
            [ARCGATE, "serve", "--json", "--config", str(file), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (file.parent / "serve.log").read_text()
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP_LIMIT)


def answers(ready: dict[str, Any]) -> bool:
    port = ready["addresses"][0].rpartition(":")[2]
    url = f"https://localhost:{port}/healthz"
    return run("curl", "-q", "-s", "--noproxy", "*", "--max-time", "5", "--cacert", ready["ca"], url).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_starts_tells_where_and_stops_cleanly(file: Path, number: signal.Signals) -> None:
    with serving(file) as (process, ready):
        assert ready["ready"] is True
        assert ready["pids"]["supervisor"] == [process.pid]
        assert answers(ready)
        assert json.loads(Path(ready["initialAdmin"]).read_text())["password"]
        process.send_signal(number)
        assert process.wait(STOP_LIMIT) == 0
        pids = [*ready["pids"]["control"], *ready["pids"]["gateway"]]
        assert not any(is_alive(pid) for pid in pids)
    assert not list((file.parent / "state" / "run").glob("*.json"))


def test_what_it_keeps_is_for_its_user_alone(file: Path) -> None:
    with serving(file) as (_, ready):
        public = Path(ready["ca"])
        assert stat.S_IMODE(public.stat().st_mode) == 0o644
        for path in [public.parent, *public.parent.rglob("*")]:
            if path != public:
                assert not path.stat().st_mode & 0o077, path


def test_state_outlives_a_restart(file: Path) -> None:
    with serving(file) as (_, ready):
        first = (Path(ready["ca"]).read_text(), Path(ready["initialAdmin"]).read_text())
    with serving(file) as (_, ready):
        assert (Path(ready["ca"]).read_text(), Path(ready["initialAdmin"]).read_text()) == first
        assert answers(ready)


def test_a_second_server_on_the_same_state_is_refused(file: Path) -> None:
    with serving(file):
        ended = run(ARCGATE, "serve", "--config", str(file))
        assert ended.code == 1
        assert "ALREADY_RUNNING" in ended.errors


def test_killed_children_come_back_on_the_same_port(file: Path) -> None:
    with serving(file) as (_, ready):
        for pid in (*ready["pids"]["control"], *ready["pids"]["gateway"]):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: answers(ready), "it answers again")


def test_children_end_with_a_killed_supervisor(file: Path) -> None:
    with serving(file) as (process, ready):
        process.kill()
        process.wait(STOP_LIMIT)
        pids = [*ready["pids"]["control"], *ready["pids"]["gateway"]]
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "no child is left", 20)


def test_control_plane_and_gateway_run_apart(file: Path, tmp_path: Path) -> None:
    with serving(file, "--role", "control") as (_, control):
        other = tmp_path / "other"
        other.mkdir(mode=0o700)
        gateway_file = other / "arcgate.toml"
        gateway_file.touch(mode=0o600)
        state = Path(control["ca"]).parent
        gateway_file.write_text(
            f'state_dir = "{other}/state"\n[listen]\naddresses = ["127.0.0.1"]\nport = 0\n[gateway]\n'
            f'control_url = "{control["arm"]}"\ncontrol_address = "{control["addresses"][0]}"\n'
            f'control_ca_file = "{state}/ca.pem"\nnode_secret_file = "{state}/secrets/node.secret"\n'
        )
        with serving(gateway_file, "--role", "gateway") as (_, gateway):
            assert set(gateway["pids"]) == {"gateway", "supervisor"}
            assert set(control["pids"]) == {"control", "supervisor"}


def test_the_banner_names_what_to_do_next(file: Path) -> None:
    with subprocess.Popen(
        [ARCGATE, "serve", "--config", str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10)]
        process.terminate()
        process.wait(STOP_LIMIT)
    text = "".join(lines)
    for words in ("Arcgate is ready", "https://management.arcgate.test:", "<prefix>.gw.", "ca.pem", "arcgate login"):
        assert words in text


def test_a_port_that_is_taken_is_told(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(ARCGATE, "serve", "--config", str(file), ARCGATE_LISTEN__PORT=str(taken.getsockname()[1]))
    assert ended.code == 1
    assert "LISTEN_FAILED" in ended.errors


def test_a_damaged_database_ends_the_start_with_a_sentence(file: Path) -> None:
    database = file.parent / "state" / "control" / "control.sqlite"
    database.parent.mkdir(parents=True, mode=0o700)
    database.parent.parent.chmod(0o700)
    database.write_bytes(b"this is no database at all" * 1000)
    ended = run(ARCGATE, "serve", "--config", str(file))
    assert ended.code == 1
    assert "CHILD_FAILED" in ended.errors
    assert "Traceback" not in ended.errors


def test_a_wrong_configuration_starts_nothing(file: Path) -> None:
    ended = run(ARCGATE, "serve", "--config", str(file), ARCGATE_GATEWAY__WORKERS="none")
    assert ended.code == 1
    assert "ARCGATE_GATEWAY__WORKERS" in ended.errors
    assert not (file.parent / "state").exists()


def test_the_configuration_is_checked_listed_and_exemplified(file: Path) -> None:
    checked = run(ARCGATE, "config", "check", "--config", str(file))
    assert (checked.code, checked.output) == (0, f"OK: {file} is valid.\n")
    listed = {row["key"]: row for row in run(ARCGATE, "config", "list", "--config", str(file)).json()}
    assert listed["listen.port"]["value"] == "0"
    assert listed["listen.port"]["default"] == "443"
    assert "[gateway]" in run(ARCGATE, "config", "example").output


@pytest.mark.parametrize(
    "command", [[], ["nothing"], ["gateway", "create"], ["login", "-p", "hush"], ["audit", "--top", "0"]]
)
def test_wrong_usage_ends_with_two_and_says_why(command: list[str], tmp_path: Path) -> None:
    ended = run(ARCGATE, *command, ARCGATE_CONFIG_DIR=str(tmp_path))
    assert ended.code == 2
    assert "Usage: arcgate" in ended.errors
    assert "Traceback" not in ended.errors


def test_a_full_or_closed_output_is_no_crash() -> None:
    for command in ("config list > /dev/full", "config list >&-", "config list <&- >&- 2>&-", "--help >&-"):
        assert "Traceback" not in run("/bin/sh", "-c", f"{ARCGATE} {command}").errors
    assert run("/bin/sh", "-c", f"{ARCGATE} config list > /dev/full").code == 1


def test_every_command_has_help() -> None:
    assert "sandbox" in run(ARCGATE, "--help").output
    for group in ("account", "config", "device", "endpoint-set", "gateway", "group", "machine", "setting"):
        assert "Commands:" in run(ARCGATE, group, "--help").output
    assert run(ARCGATE, "version").output.startswith("arcgate 0.")
