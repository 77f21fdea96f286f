"""The real process: TLS on an inherited socket, the ready line, long polls and SIGTERM."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.core.configuration import Configuration
from worlds.databases import Database


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    state: Path

    def client(self) -> http.client.HTTPSConnection:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_verify_locations(self.state / "ca.pem")
        return http.client.HTTPSConnection("localhost", self.port, context=trust, timeout=20)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        client = self.client()
        try:
            client.request("GET", path, headers=headers or {})
            reply = client.getresponse()
            return reply.status, reply.read()
        finally:
            client.close()


@pytest.fixture
def running(tmp_path: Path, database: Database) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        state = tmp_path / "state"
        configuration = Configuration.model_validate(
            {
                "state_dir": state,
                "cloud": {"extra_names": ["localhost"], "public_port": port},
                "database": {"url": database.url(state)},
            }
        )
        file = tmp_path / "configuration.json"
        file.write_text(configuration.model_dump_json(), encoding="utf-8")
        reading, writing = os.pipe()
        command = [sys.executable, "-W", "error", "-m", "arcgate.control", "--configuration", str(file)]
        command += ["--listen-fd", str(listener.fileno()), "--ready-fd", str(writing)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, pass_fds=(listener.fileno(), writing), stderr=log)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline()
    try:
        assert line, (tmp_path / "log").read_text()
        assert json.loads(line) == {"ready": True, "address": f"127.0.0.1:{port}"}
        yield Running(process, port, state)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def test_it_serves_tls_on_the_inherited_socket_and_ends_cleanly(running: Running) -> None:
    assert running.get("/healthz") == (200, b"ok\n")
    status, body = running.get("/metadata/endpoints?api-version=2022-09-01")
    assert status == 200
    assert json.loads(body)["resourceManager"] == f"https://localhost:{running.port}"
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0


def test_a_long_poll_is_answered_when_the_service_ends(running: Running) -> None:
    secret = (running.state / "secrets" / "node.secret").read_text().strip()
    headers = {"Authorization": f"Bearer {secret}"}
    status, body = running.get("/node/v1/snapshot?after=0&wait=0", headers)
    assert status == 200
    newest = json.loads(body)["revision"]
    client = running.client()
    client.connect()
    client.request("GET", f"/node/v1/snapshot?after={newest}&wait=25", headers=headers)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(client.getresponse().status))
    waiting.start()
    # A second request has been answered, so the first one is being waited for.
    assert running.get("/healthz")[0] == 200
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    waiting.join(20)
    client.close()
    assert answers == [204]


def test_a_kill_loses_no_acknowledged_state(running: Running, tmp_path: Path) -> None:
    first = json.loads((running.state / "secrets" / "initial-admin.json").read_text())
    running.process.kill()
    running.process.wait(20)
    assert first["tenantId"]
    command = [sys.executable, "-m", "arcgate.control", "--configuration", str(tmp_path / "configuration.json")]
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "log").open("wb") as log:
        command += ["--ready-fd", str(writing), "--listen-fd", str(listener.fileno())]
        process = subprocess.Popen(command, pass_fds=(writing, listener.fileno()), stderr=log)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            assert json.loads(pipe.readline())["ready"]
        assert json.loads((running.state / "secrets" / "initial-admin.json").read_text()) == first
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("content", ["", "{", '{"unknown": 1}'])
def test_an_unreadable_configuration_ends_with_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "arcgate.control", "--configuration", str(file)]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"CONFIGURATION_UNREADABLE" in done.stderr
