"""The systems that are measured side by side: each is started here, and ended here."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from load import Address

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class System:
    """A running system: its name, where clients connect (None: directly), and its processes."""

    name: str
    proxy: Address | None
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


@contextlib.contextmanager
def running_target() -> Iterator[Address]:
    """Run the target service."""
    program = Path(__file__).with_name("target.py")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.terminate()


@contextlib.contextmanager
def direct() -> Iterator[System]:
    """No proxy at all: the limit."""
    yield System("direct", None, ())


@contextlib.contextmanager
def arcgate(target: Address) -> Iterator[System]:
    """Arc Proxy and gateway, with policy and audit on, as the sandbox runs them."""
    command = [shutil.which("arcgate", path=str(Path(sys.executable).parent)) or "arcgate", "sandbox", "--json"]
    allow = ["--allow", f"{target[0]}:{target[1]}"]
    with subprocess.Popen([*command, *allow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox did not start: {process.stderr.read()}")
        facts = json.loads(line)
        host, _, port = facts["proxy"].rpartition(":")
        pids = [pid for role in ("gateway", "arcproxyd") for pid in facts["pids"][role]]
        try:
            yield System("arcgate", (host, int(port)), tuple(pids))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@contextlib.contextmanager
def squid_chain(_target: Address) -> Iterator[System]:
    """Two Squids, one behind the other: the same two hops without TLS between them."""
    with _squid(None) as (far, far_pids), _squid(far) as (near, near_pids):
        yield System("squid, two hops", near, (*far_pids, *near_pids))


@contextlib.contextmanager
def _squid(parent: Address | None) -> Iterator[tuple[Address, tuple[int, ...]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-squid-") as folder:
        Path(folder).chmod(0o755)
        upstream = (
            f"cache_peer {parent[0]} parent {parent[1]} 0 no-query default\nnever_direct allow all\n" if parent else ""
        )
        configuration = Path(folder, "squid.conf")
        configuration.write_text(
            f"http_port 127.0.0.1:{port}\nhttp_access allow localhost\npid_filename none\ncache deny all\n"
            f"access_log none\ncache_log /dev/null\ncache_store_log none\nshutdown_lifetime 1 seconds\n"
            f"pinger_enable off\nvisible_hostname bench{port}\ncoredump_dir {folder}\n{upstream}"
        )
        with subprocess.Popen(
            ["squid", "-N", "-f", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(("127.0.0.1", port))
                yield ("127.0.0.1", port), (process.pid,)
            finally:
                process.terminate()


def _wait_for(address: Address) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
