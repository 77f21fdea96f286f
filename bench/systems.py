"""The systems that are measured side by side: each is started here, and ended here."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import envoy
from load import running
from ports import Port, free_port, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).parent.parent
FOLLOWS = 2
"""Seconds after which Arc Proxy has certainly read a changed setting: it looks twice a second."""

Between = Callable[[Port], AbstractContextManager[Port]]
"""What lies between the hops: takes the far hop's port, gives the one that the near hop dials."""


@dataclass(frozen=True)
class System:
    """A running system: its name, where clients connect (0: directly), and its processes."""

    name: str
    proxy: Port
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """Return processor time of all its processes so far."""
        return sum(_cpu(pid) for pid in self.pids)

    def memory(self) -> int:
        """Return resident bytes of all its processes."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def distant(milliseconds: float) -> Between:
    """Return a line between the hops that delays bytes by half of the round trip each way."""

    @contextlib.contextmanager
    def line(port: Port) -> Iterator[Port]:
        with running("delay", port, milliseconds / 2) as (delayed, _):
            yield delayed

    return line


@contextlib.contextmanager
def direct(_target: Port, between: Between = nullcontext) -> Iterator[System]:
    """No proxy at all."""
    with between(0):
        yield System("direct", 0, ())


@contextlib.contextmanager
def arcgate(target: Port, between: Between = nullcontext, **settings: object) -> Iterator[System]:
    """Arc Proxy and gateway, with policy and audit on, as the sandbox runs them; `settings` are the agent's."""
    command = [shutil.which("arcgate", path=str(Path(sys.executable).parent)) or "arcgate", "sandbox", "--json"]
    with subprocess.Popen(
        [*command, "--allow", f"127.0.0.1:{target}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the sandbox did not start; run `arcgate sandbox` to see why")
        facts = json.loads(line)
        pids = [pid for role in ("gateway", "arcproxyd") for pid in facts["pids"][role]]
        gateway = _port_of(facts["gateway"]["address"])
        try:
            with between(gateway) as dialled:
                if dialled != gateway:
                    settings["gateway.address"] = f"127.0.0.1:{dialled}"
                _configure(facts["azcmagent"], settings)
                yield System("arcgate", _port_of(facts["proxy"]), tuple(pids))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def arcgate_cold(target: Port) -> "AbstractContextManager[System]":
    """Return Arcgate without warm channels: each tunnel has a connection and a handshake of its own."""
    return arcgate(target, **{"arcproxy.channels": 0})


def arcgate_roomy(target: Port) -> "AbstractContextManager[System]":
    """Return Arcgate with room for more connections of one machine than it takes by itself."""
    return arcgate(target, **{"arcproxy.connections": 20_000})


def _configure(azcmagent: str, settings: dict[str, object]) -> None:
    for name, value in settings.items():
        subprocess.run(f"{azcmagent} config set {name} {value}", shell=True, check=True, stdout=subprocess.DEVNULL)
    if settings:
        time.sleep(FOLLOWS)


def _port_of(address: str) -> Port:
    return int(address.rpartition(":")[2])


@contextlib.contextmanager
def kernel_relay(_target: Port, between: Between = nullcontext) -> Iterator[System]:
    """Two relays in C that only splice, without TLS: the limit."""
    with (
        running("relay", 0) as (far, far_pid),
        between(far) as dialled,
        running("relay", dialled) as (near, near_pid),
    ):
        yield System("kernel-relay", near, (far_pid, near_pid))


def envoy_h1(target: Port, between: Between = nullcontext) -> "AbstractContextManager[System]":
    """Return Envoy with a connection for each tunnel."""
    return _envoy("envoy-h1", target, between, http2=False)


def envoy_h2(target: Port, between: Between = nullcontext) -> "AbstractContextManager[System]":
    """Return Envoy with all tunnels on one connection."""
    return _envoy("envoy-h2", target, between, http2=True)


@contextlib.contextmanager
def _envoy(name: str, target: Port, between: Between, *, http2: bool) -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="bench-envoy-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        envoy.write_certificates(folder)
        far, near = free_port(), free_port()
        dialled = stack.enter_context(between(far))
        configurations = {
            "gateway": (envoy.gateway(folder, far, target), far),
            "proxy": (envoy.proxy(folder, near, dialled, http2=http2), near),
        }
        pids = []
        for number, (role, (configuration, port)) in enumerate(configurations.items()):
            file = folder / f"{role}.json"
            file.write_text(configuration)
            # One thread a hop, as Arcgate has.
            options = ["-c", str(file), "--concurrency", "1", "-l", "error", "--base-id", str(os.getpid() * 2 + number)]
            process = stack.enter_context(subprocess.Popen([str(_envoy_program()), *options]))
            stack.callback(process.kill)
            wait_for(port)
            pids.append(process.pid)
        yield System(name, near, tuple(pids))


def _envoy_program() -> Path:
    given = os.environ.get("ENVOY")
    found = [Path(given)] if given else sorted(ROOT.glob(".venv-bench/lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise RuntimeError("Envoy is missing: `make bench` installs it")
    return found[0]


@contextlib.contextmanager
def squid(_target: Port, between: Between = nullcontext) -> Iterator[System]:
    """Two Squids, one behind the other: the same two hops without TLS between them."""
    with _squid(None) as (far, far_pid), between(far) as dialled, _squid(dialled) as (near, near_pid):
        yield System("squid", near, (far_pid, near_pid))


@contextlib.contextmanager
def _squid(parent: Port | None) -> Iterator[tuple[Port, int]]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-squid-") as folder:
        Path(folder).chmod(0o755)
        upstream = f"cache_peer 127.0.0.1 parent {parent} 0 no-query default\nnever_direct allow all\n"
        configuration = Path(folder, "squid.conf")
        configuration.write_text(
            f"http_port 127.0.0.1:{port}\nhttp_access allow localhost\npid_filename none\ncache deny all\n"
            f"access_log none\ncache_log /dev/null\ncache_store_log none\nshutdown_lifetime 1 seconds\n"
            f"pinger_enable off\nvisible_hostname bench{port}\ncoredump_dir {folder}\n{upstream if parent else ''}"
        )
        with subprocess.Popen(
            ["squid", "-N", "-f", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_for(port)
                yield port, process.pid
            finally:
                process.kill()
