"""What stands on the hosts of a test network: DNS (dnsmasq), an enterprise proxy (Squid), target services."""

import hashlib
import json
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worlds import network_target
from worlds.authority import Authority
from worlds.network import Host
from worlds.network_processes import Service
from worlds.waiting import wait_until

SQUID_PORT = 3128
_SQUID_USER = "proxy"
"""Debian's Squid takes this user's rights when root starts it."""


@dataclass
class NameServer:
    """dnsmasq with scripted names (a leading dot: all names below); any other name does not exist."""

    host: Host
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _service: Service | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    def start(self) -> "NameServer":
        """Start dnsmasq and wait until it answers."""
        self._write()
        # The records stand for themselves: no resolv.conf, no /etc/hosts, and no server above us for any name.
        options = ("--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/#/")
        place = (f"--listen-address={self.host.address}", "--bind-interfaces", "--pid-file=", "--user=root")
        told = (f"--addn-hosts={self._file}", "--log-queries", "--log-facility=-", "--local-ttl=0")
        below = [f"--address=/{name[1:]}/{one}" for name, all_ in self.names.items() if name[0] == "." for one in all_]
        self._service = self.host.start("dnsmasq", "dnsmasq", *options, *below, *place, *told)
        self._service.ready_when(lambda: "read " in self.service.words, "it has read its names")
        return self

    def answer(self, name: str, *addresses: str) -> None:
        """Answer a name by these addresses from now on; none: it does not exist."""
        assert not name.startswith("."), "what is below a name can't change while it runs"
        self.names[name] = addresses
        before = self.service.words.count("read ")
        self._write()
        self.service.signal(signal.SIGHUP)
        wait_until(lambda: self.service.words.count("read ") > before, "dnsmasq has read its names again")

    def questions_of(self, host: Host) -> list[str]:
        """Return the names that a host has asked for."""
        asked = re.compile(rf"query\[[A-Z0-9]+\] (\S+) from {re.escape(host.address)}$", re.MULTILINE)
        return asked.findall(self.service.words)

    @property
    def _file(self) -> Path:
        return self.host.folder / "names"

    def _write(self) -> None:
        names = [(name, addresses) for name, addresses in self.names.items() if not name.startswith(".")]
        self._file.write_text("".join(f"{address} {name}\n" for name, addresses in names for address in addresses))


@dataclass
class Squid:
    """A real Squid as an enterprise proxy: CONNECT to port 443 of listed names, nothing else."""

    host: Host
    name_server: Host
    allowed: tuple[str, ...]
    further_lines: tuple[str, ...] = ()
    """Of squid.conf; with an auth_param among them, who asks must have proved who he is."""
    environment: Mapping[str, str] = field(default_factory=dict)
    _service: Service | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:{SQUID_PORT}"

    def start(self) -> "Squid":
        """Start Squid and wait until it listens."""
        self._folder.mkdir(exist_ok=True)
        self.host.network.further_logs += [self._folder / "access.log", self._folder / "cache.log"]
        shutil.chown(self._folder, _SQUID_USER)
        configuration = self._folder / "squid.conf"
        configuration.write_text(self._configuration())
        argv = ("squid", "-N", "-f", str(configuration), "-n", self._service_name)
        self._service = self.host.start("squid", *argv, **self.environment)
        self._service.ready_when(lambda: self.host.listens(SQUID_PORT), "it listens")
        return self

    @property
    def requests(self) -> list[str]:
        """Lines of the access log, as `STATUS METHOD TARGET`."""
        log = self._folder / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def _folder(self) -> Path:
        return self.host.folder / "squid"

    @property
    def _service_name(self) -> str:
        return re.sub(r"[^a-z0-9]", "", self.host.namespace)

    def _configuration(self) -> str:
        wants_users = any(line.startswith("auth_param ") for line in self.further_lines)
        known = (*self.further_lines, "acl known proxy_auth REQUIRED") if wants_users else self.further_lines
        return "\n".join(
            (
                f"http_port {self.host.address}:{SQUID_PORT}",
                f"dns_nameservers {self.name_server.address}",
                f"acl names dstdomain {' '.join(self.allowed)}",
                "acl https port 443",
                "acl CONNECT method CONNECT",
                *known,
                f"http_access allow CONNECT https names{' known' if wants_users else ''}",
                "http_access deny all",
                "logformat request %>Hs %rm %ru",
                f"access_log stdio:{self._folder}/access.log request",
                f"cache_log {self._folder}/cache.log",
                f"pid_filename {self._folder}/squid.pid",
                f"coredump_dir {self._folder}",
                "visible_hostname squid.example",
                "netdb_filename none",
                "pinger_enable off",
                "hosts_file none",
                "cache_mem 4 MB",
                "max_filedescriptors 4096",
                # Answers of the name server change during a test.
                "positive_dns_ttl 1 second",
                "negative_dns_ttl 1 second",
                "shutdown_lifetime 1 second",
                "",
            )
        )


@dataclass
class TargetService:
    """A server with known bytes, upload digests, slow answers and a count of its TCP payload; HTTPS but on port 80."""

    host: Host
    names: tuple[str, ...]
    authority: Authority
    port: int = 443
    _service: Service | None = None

    def start(self) -> "TargetService":
        """Start it with a certificate for its names and wait until it listens."""
        certificate = self.authority.issue(*self.names) if self.port != 80 else ()
        script = str(Path(network_target.__file__))
        files = (str(self._log), *map(str, certificate))
        argv = (sys.executable, script, self.host.address, str(self.port), *files)
        self._service = self.host.start(f"target{self.port}", *argv)
        self._service.ready_when(lambda: self.host.listens(self.port), "it listens")
        return self

    def url(self, path: str, name: str = "") -> str:
        """Return the URL of a path on one of its names (the first, unless given)."""
        scheme, port = ("http", "") if self.port == 80 else ("https", "" if self.port == 443 else f":{self.port}")
        return f"{scheme}://{name or self.names[0]}{port}{path}"

    @property
    def connections(self) -> list[Mapping[str, Any]]:
        """Ended connections: `peer`, `received` and `sent` (bytes of TCP payload), `requests`."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    def ended_connection(self, position: int) -> Mapping[str, Any]:
        """Wait for the connection to end that is `position`-th in the order of ends, and return it."""
        wait_until(lambda: len(self.connections) > position, f"connection {position} of {self.names[0]} has ended")
        return self.connections[position]

    @property
    def _log(self) -> Path:
        return self.host.folder / f"connections-{self.port}"


def digest_of_known_bytes(length: int) -> str:
    """Return the SHA-256 of what a target answers for /bytes/LENGTH."""
    digest = hashlib.sha256()
    for block in network_target.known_bytes(length):
        digest.update(block)
    return digest.hexdigest()


def digest(blob: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(blob).hexdigest()


def addresses_of(hosts: Iterable[tuple[str, Host]]) -> dict[str, tuple[str, ...]]:
    """Return names with the address of the host that each stands for, as NameServer takes them."""
    return {name: (host.address,) for name, host in hosts}
