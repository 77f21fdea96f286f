"""Networks of namespaces: hosts on one switch, firewalls between a host and the rest, and the hosts' processes.

Theory: one namespace is the switch (a bridge); each host is a namespace with one interface that ends at a port of it.
A host's firewall is a chain of the bridge's own filter, so it stands outside the host, as a company's firewall does:
what it does not allow vanishes without an answer, and is counted. All addresses are of 198.51.100.0/24, documentation.

Everything has the run's process id in its name. A network ends what it started and removes what it made, also when
the test failed; what a killed run left behind is removed by the next one.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from worlds.authority import Authority
from worlds.network_processes import Finished, Service, execute, last_words
from worlds.waiting import wait_until

PREFIX = "arcw"
PROGRAMS = ("ip", "nft", "squid", "dnsmasq", "curl", "openssl", "setpriv")
LOCATIONS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACE_FILES = Path("/etc/netns")
"""`ip netns exec` shows a namespace the files of its folder here in place of those of /etc."""

LOOPBACK_NAMES = ("127.0.0.1 localhost", "::1 localhost")

_OURS = re.compile(rf"{PREFIX}-(?P<run>[0-9]{{1,10}})-[0-9]+-[a-z0-9_-]+\Z", re.ASCII)
_CORRELATION = re.compile(r"^< Arcgate-Correlation-Id: (?P<id>[A-Za-z0-9-]+)", re.MULTILINE)
_HOST_NAME = re.compile(r"[a-z][a-z0-9]{0,11}\Z", re.ASCII)
_networks = count()

living: "list[Network]" = []
"""Networks that stand now; a failing test shows their logs."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a firewall lets out: packets to one port of one host."""

    host: "Host"
    port: int
    protocol: str = "tcp"

    @property
    def rule(self) -> str:
        return f"ip daddr {self.host.address} {self.protocol} dport {self.port} accept"


@dataclass
class Host:
    """A namespace with one address, its own resolv.conf and hosts file, a folder and processes."""

    network: "Network"
    name: str
    address: str
    folder: Path
    services: list[Service] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.network.namespace(self.name)

    def run(self, *argv: str, timeout: float = 60, **environment: str) -> Finished:
        """Run a command in the namespace to its end."""
        return execute(self._inside(argv), self._environment(environment), timeout)

    def start(self, name: str, *argv: str, **environment: str) -> Service:
        """Start a service in the namespace; the network ends it at the latest."""
        log = self.network.logs / f"{self.name}-{name}.log"
        service = Service(f"{self.name}/{name}", self._inside(argv), log, self._environment(environment))
        self.services.append(service)
        return service.start()

    def listens(self, port: int, address: str = "") -> bool:
        """Whether something listens on the TCP port (of that address, or of any)."""
        sockets = self.run("ss", "--no-header", "--listening", "--tcp", "--numeric", f"sport = :{port}").succeeded()
        return any(address in line for line in sockets.output.splitlines())

    def curl(self, *arguments: str, timeout: float = 30, **environment: str) -> "Curled":
        """Run curl in the namespace; the answer's body is in a file, its figures come from curl's own `--write-out`."""
        body = self.folder / f"body-{next(self.network.numbers)}"
        argv = ("curl", "--silent", "--show-error", "--max-time", f"{timeout:g}", "--output", str(body))
        finished = self.run(*argv, "--write-out", "%{json}", *arguments, timeout=timeout + 10, **environment)
        return Curled(finished, body, json.loads(finished.output or "{}"))

    def resolve_by(self, *servers: "Host") -> None:
        """Ask these hosts for names from now on; none: every name fails at once."""
        lines = [f"nameserver {server.address}" for server in servers] or ["nameserver 127.0.0.1"]
        _set_namespace_file(self.namespace, "resolv.conf", [*lines, "options timeout:1 attempts:2"])

    def know(self, name: str, host: "Host") -> None:
        """Write a name into this host's own hosts file."""
        file = NAMESPACE_FILES / self.namespace / "hosts"
        _set_namespace_file(self.namespace, "hosts", [*file.read_text().splitlines(), f"{host.address} {name}"])

    def forget(self) -> None:
        """Remove the names that were written into this host's hosts file."""
        _set_namespace_file(self.namespace, "hosts", LOOPBACK_NAMES)

    def firewall(self, allow: Iterable["tuple[Host, int] | tuple[Host, int, str]"]) -> None:
        """Let out only these (host, port[, protocol]); all else vanishes. Replaces an earlier firewall."""
        openings = [Opening(*one) for one in allow]
        self.network.wall(self, [one.rule for one in openings])

    def open_firewall(self) -> None:
        """Let everything out."""
        self.network.wall(self, ["accept"])

    @property
    def stopped_packets(self) -> int:
        """Packets of this host that its firewall made vanish."""
        return self.network.stopped_packets(self)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *argv]

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        usual = {"HOME": str(self.folder), "LANG": "C.UTF-8", "PATH": LOCATIONS, "PYTHONUNBUFFERED": "1"}
        return {**usual, **extra}


@dataclass(frozen=True)
class Curled:
    """What a run of curl came to."""

    finished: Finished
    file: Path
    figures: Mapping[str, object]

    @property
    def code(self) -> int:
        """curl's exit code."""
        return self.finished.code

    @property
    def status(self) -> int:
        """The status of the last answer, 0 without one."""
        return self.figure("http_code")

    @property
    def connect_status(self) -> int:
        """The status of the proxy's answer to CONNECT, 0 without one."""
        return self.figure("http_connect")

    @property
    def body(self) -> bytes:
        return self.file.read_bytes() if self.file.exists() else b""

    @property
    def errors(self) -> str:
        return self.finished.errors

    @property
    def correlation_id(self) -> str:
        """The correlation id of the answer to CONNECT, as curl's `--verbose` shows it."""
        found = _CORRELATION.search(self.errors)
        assert found, f"no correlation id in: {self.errors}"
        return found["id"]

    def figure(self, name: str) -> int:
        """Return one of curl's own counts, by its name in `--write-out`."""
        value = self.figures.get(name, 0)
        assert isinstance(value, int)
        return value


class Network:
    """A switch and the hosts at it. Use it as a context manager; needs root."""

    def __init__(self) -> None:
        self.number = next(_networks)
        self.numbers = count()
        self.hosts: dict[str, Host] = {}
        self.folder = Path()
        self.logs = Path()
        self.further_logs: list[Path] = []
        """Files that services write beside what they say."""

    def __enter__(self) -> Self:
        require_programs()
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-{self.number}-"))
        # Squid gives up root's rights and must still reach its files below.
        self.folder.chmod(0o755)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        living.append(self)
        try:
            self._make_switch()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def namespace(self, name: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{self.number}-{name}"

    def host(self, name: str) -> Host:
        """Add a host with the next free address; it may send anything anywhere until it gets a firewall."""
        assert _HOST_NAME.match(name), f"{name} would not do as a name of an interface"
        host = Host(self, name, f"198.51.100.{len(self.hosts) + 10}", self.folder / name)
        host.folder.mkdir()
        self.hosts[name] = host
        host.forget()
        host.resolve_by()
        _ip("netns", "add", host.namespace)
        _ip("link", "add", "eth0", "netns", host.namespace, "type", "veth", "peer", name, "netns", self._switch)
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            _ip("-n", host.namespace, "link", "set", interface, "up")
        _ip("-n", self._switch, "link", "set", name, "master", "br0", "up")
        self._filter(
            f"add counter bridge wall stopped_{name}",
            f"add chain bridge wall from_{name}",
            f"add rule bridge wall forward iifname {name} jump from_{name}",
        )
        return host

    def authority(self) -> Authority:
        """Return a new certificate authority with its own folder."""
        folder = self.folder / f"authority-{next(self.numbers)}"
        folder.mkdir()
        return Authority(folder)

    def wall(self, host: Host, rules: Sequence[str]) -> None:
        """Replace what a host may send by these rules, in one step; what matches none is counted and dropped."""
        chain = f"bridge wall from_{host.name}"
        rest = f"counter name stopped_{host.name} drop"
        # Answers of a service on the host are let through by being no beginning of a connection.
        always = ("ether type arp accept", "tcp flags & (syn | ack) != syn accept")
        lines = [f"add rule {chain} {rule}" for rule in (*always, *rules, rest)]
        self._filter(f"flush chain {chain}", *lines)

    def stopped_packets(self, host: Host) -> int:
        """Return how many packets of the host its firewall made vanish."""
        argv = ["ip", "netns", "exec", self._switch, "nft", "--json", "list", "counter"]
        answer = execute([*argv, "bridge", "wall", f"stopped_{host.name}"]).succeeded()
        found = [one["counter"]["packets"] for one in json.loads(answer.output)["nftables"] if "counter" in one]
        return int(found[0])

    def remove(self) -> None:
        """End all processes, remove all namespaces and files."""
        for host in self.hosts.values():
            for service in reversed(host.services):
                service.kill()
        for name in (*self.hosts, "switch"):
            _remove_namespace(self.namespace(name))
        shutil.rmtree(self.folder, ignore_errors=True)
        if self in living:
            living.remove(self)

    def describe(self) -> str:
        """Return the end of every service's log, and of the files that go with them, for a failure's report."""
        services = [service for host in self.hosts.values() for service in host.services]
        said = [
            f"--- {one.name} ({'running' if one.is_running else one.code}) ---\n{one.last_words()}" for one in services
        ]
        written = [f"--- {file} ---\n{last_words(file)}" for file in self.further_logs if file.exists()]
        return "\n".join((*said, *written))

    @property
    def _switch(self) -> str:
        return self.namespace("switch")

    def _make_switch(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        self._filter("add table bridge wall", "add chain bridge wall forward { type filter hook forward priority 0; }")

    def _filter(self, *commands: str) -> None:
        file = self.folder / "filter.nft"
        file.write_text("\n".join((*commands, "")))
        execute(["ip", "netns", "exec", self._switch, "nft", "--file", str(file)]).succeeded()


def require_programs() -> None:
    """Raise AssertionError, with what to do, where networks of namespaces can't be built."""
    assert os.geteuid() == 0, "networks of namespaces need root: run the tests as root"
    missing = [program for program in PROGRAMS if shutil.which(program, path=LOCATIONS) is None]
    assert not missing, f"missing programs: {', '.join(missing)}; run scripts/install-test-packages"


def remove_leftovers() -> None:
    """Remove the namespaces, processes and folders of runs that have died."""
    names = [path.name for path in (*Path("/run/netns").glob(f"{PREFIX}-*"), *NAMESPACE_FILES.glob(f"{PREFIX}-*"))]
    for name in sorted(set(names)):
        if (match := _OURS.match(name)) and not Path(f"/proc/{match['run']}").exists():
            _remove_namespace(name)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if (match := _OURS.match(folder.name)) and not Path(f"/proc/{match['run']}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _remove_namespace(namespace: str) -> None:
    if Path("/run/netns", namespace).exists():
        # Whatever still runs in there was started by the run that made the namespace.
        for pid in execute(["ip", "netns", "pids", namespace]).output.split():
            _kill(int(pid))
        wait_until(lambda: not execute(["ip", "netns", "pids", namespace]).output, f"{namespace} is empty")
        execute(["ip", "netns", "delete", namespace])
    shutil.rmtree(NAMESPACE_FILES / namespace, ignore_errors=True)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was ending already
        os.kill(pid, signal.SIGKILL)


def _set_namespace_file(namespace: str, name: str, lines: Sequence[str]) -> None:
    path = NAMESPACE_FILES / namespace / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # In place: a namespace's processes see the file by a bind mount, which a renamed one would not reach.
    path.write_text("\n".join((*lines, "")))


def _ip(*arguments: str) -> None:
    execute(["ip", *arguments]).succeeded()
