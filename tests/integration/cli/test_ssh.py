"""SSH to a machine through its gateway, with OpenSSH at both ends and two workers in between."""

import hashlib
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from worlds.openssh import SshServer, ssh_server
from worlds.sandbox_process import ARCGATE, Ended, SandboxProcess, run, sandbox_process
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(150)

MACHINE = "sandbox-machine"
WHERE = ("-n", MACHINE, "-g", "sandbox")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox_process(tmp_path_factory.mktemp("sandbox"), "--workers", "2") as running:
        running.log_in("--connect-to", f"127.0.0.1:{running.ready['arm'].rpartition(':')[2]}")
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def ready(sandbox: SandboxProcess, server: SshServer) -> SandboxProcess:
    """A machine that allows sshd's port, and a login role; whoever changes that puts it back."""
    configure(sandbox, "incomingconnections.ports", str(server.port))
    allow_login(sandbox)
    return sandbox


def allow_login(sandbox: SandboxProcess) -> None:
    assert sandbox.arcgate("machine", "allow-login", *WHERE).code == 0


def configure(sandbox: SandboxProcess, name: str, value: str) -> None:
    ended = sandbox.azcmagent("config", "set", name, value)
    assert ended.code == 0, ended


def words_of(server: SshServer, *words: str) -> tuple[str, ...]:
    return ("ssh", f"{server.user}@{MACHINE}", "--port", str(server.port), "--", *server.options, *words)


def ssh(sandbox: SandboxProcess, server: SshServer, *words: str) -> Ended:
    return sandbox.arcgate(*words_of(server, *words))


@contextmanager
def long_session(sandbox: SandboxProcess, server: SshServer) -> Iterator["subprocess.Popen[str]"]:
    """An SSH session in which cat runs; it has answered once."""
    environment = {**os.environ, "ARCGATE_CONFIG_DIR": str(sandbox.profile)}
    pipe = subprocess.PIPE
    command = [ARCGATE, *words_of(server, "cat")]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("there?\n")
        process.stdin.flush()
        assert process.stdout.readline() == "there?\n", process.stderr and process.stderr.read()
        try:
            yield process
        finally:
            process.kill()


def sessions(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    found = sandbox.arcgate("machine", "sessions", "-n", MACHINE, "-o", "json").json()
    return list(found)


def record(sandbox: SandboxProcess, **wanted: object) -> dict[str, Any]:
    """Return the newest incoming record with these values, once it is there."""

    def find() -> dict[str, Any] | None:
        records = sandbox.arcgate("audit", "--machine", MACHINE, "-o", "json").json()
        incoming = (one for one in records if one["direction"] == "incoming")
        return next((one for one in incoming if all(one[key] == value for key, value in wanted.items())), None)

    wait_until(lambda: find() is not None, f"a record with {wanted}")
    found = find()
    assert found is not None
    return found


@pytest.mark.scenario("Ssh", {"the gateway's own name": "OpenSSH by arcgate ssh"})
def test_a_command_s_output_and_exit_code_come_back_and_the_audit_names_who_ran_it(
    ready: SandboxProcess, server: SshServer
) -> None:
    ended = ssh(ready, server, "echo from $((40 + 2)); exit 7")
    assert (ended.code, ended.output) == (7, "from 42\n"), ended
    end = record(ready, event="end", reason="completed")
    assert end["target"] == f"127.0.0.1:{server.port}"
    assert end["machine"].endswith(MACHINE)
    assert end["requester"].startswith(ready.ready["clientId"])
    assert end["bytesUp"] > 1000
    assert end["bytesDown"] > 1000


def test_a_file_of_megabytes_comes_over_unchanged_both_ways(
    ready: SandboxProcess, server: SshServer, tmp_path: Path
) -> None:
    content = os.urandom(8 * 1024 * 1024)
    (tmp_path / "here").write_bytes(content)
    proxy = shlex.join([ARCGATE, "ssh-proxy", MACHINE, str(server.port)])
    options = (*server.options, "-o", f"ProxyCommand={proxy}")
    profile = str(ready.profile)
    there = f"{server.user}@{MACHINE}:{tmp_path}/there"
    up = run("scp", "-q", *options, str(tmp_path / "here"), there, ARCGATE_CONFIG_DIR=profile)
    down = run("scp", "-q", *options, there, str(tmp_path / "back"), ARCGATE_CONFIG_DIR=profile)
    assert (up.code, down.code) == (0, 0), (up, down)
    for name in ("there", "back"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).digest() == hashlib.sha256(content).digest()


def test_a_port_that_the_machine_does_not_allow_is_refused_in_the_machine_s_name(
    ready: SandboxProcess, server: SshServer
) -> None:
    ended = ready.arcgate("ssh-proxy", MACHINE, "1")
    assert ended.code == 1
    assert "incoming_port_not_allowed" in ended.errors
    assert "azcmagent config set incomingconnections.ports" in ended.errors


def test_a_role_that_is_taken_away_ends_the_session_and_not_even_an_owner_gets_in(
    ready: SandboxProcess, server: SshServer
) -> None:
    try:
        with long_session(ready, server) as session:
            assert ready.arcgate("machine", "forbid-login", *WHERE).code == 0
            assert session.wait(20) == 255
        ended = ssh(ready, server, "true")
        assert ended.code == 255
        assert "AuthorizationFailed" in ended.errors
        assert "Virtual Machine User Login" in ended.errors
    finally:
        allow_login(ready)
    assert record(ready, event="end", reason="access_revoked")


def test_an_operator_sees_a_session_and_cuts_it(ready: SandboxProcess, server: SshServer) -> None:
    with long_session(ready, server) as session:
        wait_until(lambda: bool(sessions(ready)), "the session is listed")
        listed = sessions(ready)
        ended = ready.arcgate("machine", "cut", *WHERE, "--session", listed[0]["tunnelId"])
        assert ended.output == "Connections cut: 1.\n", ended
        assert session.wait(20) == 255
        assert session.stderr is not None
        assert "arcgate audit --correlation-id" in session.stderr.read()
    assert record(ready, event="end", reason="cut_by_operator", tunnelId=listed[0]["tunnelId"])


def test_a_cut_connection_gets_no_byte_that_is_not_the_machine_s(ready: SandboxProcess, server: SshServer) -> None:
    environment = {**os.environ, "ARCGATE_CONFIG_DIR": str(ready.profile)}
    command = [ARCGATE, "ssh-proxy", MACHINE, str(server.port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("SSH-2.0-")
        wait_until(lambda: bool(sessions(ready)), "the session is listed")
        for session in sessions(ready):
            assert ready.arcgate("machine", "cut", *WHERE, "--session", session["tunnelId"]).code == 0
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith("ERROR: (CONNECTION_CUT) ")
        assert process.wait(20) == 1


def test_output_that_can_not_be_written_is_a_failure(ready: SandboxProcess, server: SshServer) -> None:
    environment = {**os.environ, "ARCGATE_CONFIG_DIR": str(ready.profile)}
    command = [ARCGATE, "ssh-proxy", MACHINE, str(server.port)]
    with Path("/dev/full").open("wb") as full:
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": full, "stderr": subprocess.PIPE}
        ended = subprocess.run(command, env=environment, **streams, timeout=50, check=False)
    assert (ended.returncode, b"No space left on device" in ended.stderr) == (1, True), ended


def test_monitor_mode_ends_sessions_and_lets_nobody_in(ready: SandboxProcess, server: SshServer) -> None:
    try:
        with long_session(ready, server) as session:
            configure(ready, "config.mode", "monitor")
            assert session.wait(20) == 255
        ended = ready.arcgate("ssh-proxy", MACHINE, str(server.port))
        assert ended.code == 1
        assert "machine_not_waiting" in ended.errors
        assert "config.mode" in ended.errors
    finally:
        configure(ready, "config.mode", "full")


@pytest.mark.scenario("AdminCenter", {"the gateway's own name": "a TCP client by arcgate tcp-proxy"})
def test_any_allowed_port_can_be_had_on_the_operator_s_loopback(ready: SandboxProcess, server: SshServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, socket.create_server(("127.0.0.1", 0)) as probe:
        port, own = service.getsockname()[1], probe.getsockname()[1]
        probe.close()
        configure(ready, "incomingconnections.ports", f"{server.port},{port}")
        environment = {**os.environ, "ARCGATE_CONFIG_DIR": str(ready.profile)}
        command = [ARCGATE, "tcp-proxy", MACHINE, str(port), "--listen", f"127.0.0.1:{own}"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith("Listening on 127.0.0.1:")
                with socket.create_connection(("127.0.0.1", own), timeout=20) as client:
                    client.sendall(b"hello")
                    client.shutdown(socket.SHUT_WR)
                    service.settimeout(20)
                    accepted, _ = service.accept()
                    with accepted:
                        accepted.settimeout(20)
                        assert accepted.makefile("rb").read() == b"hello"
                        accepted.sendall(b"and back")
                    assert client.makefile("rb").read() == b"and back"
                process.terminate()
                assert process.wait(20) == 0
            finally:
                process.kill()
