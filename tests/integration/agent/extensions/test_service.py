"""From ARM to a script's output in the instanceView: control plane, himdsd, extd and the extensions that ship."""

import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.extensions.daemon import ExtensionDaemon
from arcgate.agent.extensions.processor_limit import ProcessorLimit
from arcgate.agent.himds import session as session_module
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.machine_key import KeyKind
from arcgate.agent.paths import AgentPaths
from arcgate.net.tasks import cancel, spawn
from worlds.agent_cloud import AgentCloud, agent_cloud
from worlds.authority import Authority
from worlds.control_plane import MACHINES
from worlds.extension_packages import Publisher
from worlds.shipped_extensions import put_on_shelf
from worlds.waiting import until, until_so

pytestmark = pytest.mark.anyio

PLACE = f"{MACHINES}/box/extensions"


@dataclass
class Sink(ThreadingHTTPServer):
    """A target that takes OTLP and gives files; it works in threads of its own."""

    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> bytes:
        """Return everything that came by a path."""
        return b"".join(body for place, _, body in self.taken if place == path)


class _Taking(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.taken.append((self.path.removeprefix(self.server.url), headers, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        is_there = self.path.split("?")[0].endswith("/greet.sh")
        body = b'echo "fetched by a $1"\n' if is_there else b""
        self.send_response(200 if is_there else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def sink() -> Iterator[Sink]:
    server = Sink()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Surroundings:
    """A connected machine with himdsd and extd."""

    cloud: AgentCloud
    paths: AgentPaths

    @property
    def extd(self) -> ExtensionDaemon:
        """Return a fresh extd."""
        limit = ProcessorLimit(Path("/nowhere"))
        limit.problem = ""
        return ExtensionDaemon(self.paths, {}, lambda *_: self.cloud.client(), limit=limit)

    async def put(self, name: str, type_: str, settings: dict[str, Any], protected: dict[str, Any]) -> None:
        """Want an extension of ours."""
        properties = {"publisher": "Arcgate", "type": type_, "settings": settings, "protectedSettings": protected}
        reply = await self.cloud.plane.arm("PUT", f"{PLACE}/{name}", {"location": "eastus", "properties": properties})
        assert reply.status == 202

    async def shown(self, name: str) -> dict[str, Any]:
        """Return the extension's properties."""
        return dict((await self.cloud.plane.arm("GET", f"{PLACE}/{name}")).json()["properties"])

    async def message(self, name: str, text: str, state: str = "Succeeded") -> str:
        """Wait until the instanceView holds a text, and return all of it."""

        async def is_so() -> bool:
            shown = await self.shown(name)
            return text in shown["instanceView"]["status"]["message"] and shown["provisioningState"] == state

        try:
            await until_so(is_so, 30)
        except AssertionError:
            raise AssertionError(f"never so: {await self.shown(name)}") from None
        return str((await self.shown(name))["instanceView"]["status"]["message"])


@pytest.fixture
async def world(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Surroundings]:
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENT_SPREAD", 0.0)
    for module in ("extensions", "himds"):
        monkeypatch.setattr(f"arcgate.agent.{module}.daemon.LOOK_INTERVAL", 0.02)
    async with agent_cloud(tmp_path, authority) as cloud:
        await cloud.plane.group()
        paths = cloud.machine(tmp_path / "agent")
        await cloud.onboard(paths, key_kind=KeyKind.EC)
        async with cloud.himdsd(paths):
            yield Surroundings(cloud, paths)


@asynccontextmanager
async def running(daemon: ExtensionDaemon) -> AsyncIterator[ExtensionDaemon]:
    task = spawn("extd", daemon.run())
    try:
        yield daemon
    finally:
        await cancel(task)


def shelf(cloud: AgentCloud, *types: str) -> Publisher:
    return put_on_shelf(cloud.plane.context.configuration.state_dir / "extensions", *types)


def process_file(pid: int, name: str) -> str:
    """Return what Linux tells of a process, nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


async def test_a_scripts_output_comes_back_and_it_runs_once_for_each_change(
    world: Surroundings, tmp_path: Path
) -> None:
    shelf(world.cloud, "CustomScript")
    command = f"echo run >>{tmp_path}/runs; key=hunter2; echo shown; tr '\\0' ' ' </proc/$$/cmdline >&2"
    with sink() as target:
        uri = f"{target.url}/files/greet.sh?signature=verysecret"
        async with running(world.extd):
            await world.put("job", "CustomScript", {"commandToExecute": "sh greet.sh guest"}, {"fileUris": [uri]})
            await world.message("job", "fetched by a guest")
            await world.put("job", "CustomScript", {}, {"commandToExecute": command})
            text = await world.message("job", "[StdOut] shown")
            assert "/bin/sh" in text
        enabled = world.paths.home / "extensions/job/log/enable-CommandExecution.log"
        enabled.unlink()
        async with running(world.extd):  # started anew, it enables what is there once more
            await until(enabled.exists, 30)
            await world.message("job", "[StdOut] shown")
            await world.put(
                "job",
                "CustomScript",
                {"fileUris": [f"{target.url}/none.sh?signature=verysecret"]},
                {"commandToExecute": "exit 3"},
            )
            assert "HTTP 404" in await world.message("job", "can't be downloaded", "Failed")
            await world.put("job", "CustomScript", {}, {"commandToExecute": "echo broken >&2; exit 3"})
            await world.message("job", "[StdErr] broken", "Failed")
            assert (await world.shown("job"))["instanceView"]["status"]["code"] == "3"
            await world.cloud.plane.arm("DELETE", f"{PLACE}/job")
            await until(lambda: not (world.paths.home / "extensions/job").exists(), 30)
    assert (tmp_path / "runs").read_text() == "run\n"
    logs = "".join(path.read_text(errors="replace") for path in world.paths.home.rglob("*.log"))
    assert "hunter2" not in logs
    assert "verysecret" not in logs


async def test_a_machine_that_trusts_other_publishers_alone_runs_nothing(world: Surroundings) -> None:
    shelf(world.cloud, "CustomScript")
    SettingsFile(world.paths).set("extensions.publisherkeys", Publisher().public)
    async with running(world.extd):
        await world.put("job", "CustomScript", {"commandToExecute": "true"}, {})
        text = await world.message("job", "No trusted publisher has signed", "Failed")
        assert "extensions.publisherkeys" in text
        SettingsFile(world.paths).clear("extensions.publisherkeys")
        await world.message("job", "exit code 0")


async def test_the_collector_sends_metrics_and_logs_through_its_proxy_and_ends_when_told(
    world: Surroundings, tmp_path: Path
) -> None:
    shelf(world.cloud, "Monitor")
    log = tmp_path / "app.log"
    log.write_text("from before\n")
    with sink() as target:
        # The sink is the proxy at the same time: requests to http targets come to it in absolute form.
        settings = {
            "endpoint": "http://otlp.test",
            "interval": 0.5,
            "logs": [str(log)],
            "attributes": {"team": "green"},
            "proxy": {"mode": "application", "address": target.url, "auth": False},
        }
        async with running(world.extd):
            await world.put("mon", "Monitor", settings, {"headers": {"x-key": "hunter2"}})
            await world.message("mon", "The collector runs, and sends to http://otlp.test")
            with log.open("a") as file:
                file.write("a line of the application\n")
            metrics, logs = "http://otlp.test/v1/metrics", "http://otlp.test/v1/logs"
            await until(lambda: b"system.memory.usage" in target.bodies(metrics), 30)
            await until(lambda: b"a line of the application" in target.bodies(logs), 30)
            assert b"from before" not in target.bodies(logs)
            assert b"green" in target.bodies(metrics)
            assert target.taken[0][1]["x-key"] == "hunter2"
            folder = world.paths.home / "extensions/mon"
            pid = int((folder / "collector.pid").read_text().split()[0])
            assert "hunter2" not in process_file(pid, "cmdline") + process_file(pid, "environ")
            await world.cloud.plane.arm("DELETE", f"{PLACE}/mon")
            await until(lambda: not folder.exists(), 30)
            assert process_file(pid, "cmdline") == ""
