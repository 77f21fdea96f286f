"""Arcgate itself on a test network: servers, the operator's command line, and machines with the installed agent.

Everything is run as its users run it: `arcgate serve`, `arcgate …`, the downloaded installer, `azcmagent …`.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worlds.network import Curled, Host
from worlds.network_browser import Browser
from worlds.network_processes import Finished, Service
from worlds.waiting import wait_until

DOMAIN = "arcgate.example"
SERVING = ("management", "login", "gbl.his", "eastus.his", "packages", "download")
CONTROL_NAMES = tuple(f"{part}.{DOMAIN}" for part in SERVING)
GATEWAY_ZONE = f"gw.{DOMAIN}"
OPEN_NETWORK = "198.51.100.0/24"
"""The test networks' addresses are documentation's, which no gateway connects to unless it is told to."""
ARC_PROXY = "http://127.0.0.1:40343"

_USER_CODE = re.compile(r"\b(?P<code>[A-Z0-9]{3,4}(?:-[A-Z0-9]{3,4}){1,2})\b")
_ARCGATE = str(Path(sys.executable).with_name("arcgate"))
# The installer looks for the Python that the server runs with.
_PYTHON_FOLDER = str(Path(sys.base_prefix) / "bin")


@dataclass
class Server:
    """One `arcgate serve` on a host."""

    host: Host
    role: str
    settings: Mapping[str, Mapping[str, object]]
    _service: Service | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    @property
    def state(self) -> Path:
        return self.host.folder / "state"

    @property
    def ca_file(self) -> Path:
        return self.state / "ca.pem"

    @property
    def node_secret(self) -> Path:
        return self.state / "secrets" / "node.secret"

    @property
    def initial_admin(self) -> dict[str, str]:
        """What the first start wrote down for the first administrator."""
        document = json.loads((self.state / "secrets" / "initial-admin.json").read_text())
        assert isinstance(document, dict)
        return document

    def start(self) -> "Server":
        """Start it and wait until it is ready."""
        configuration = self.host.folder / "arcgate.toml"
        configuration.write_text(_toml(self.state, self.settings))
        arguments = ("serve", "--role", self.role, "--config", str(configuration), "--json")
        self._service = self.host.start(self.role, _ARCGATE, *arguments)
        return self._wait(0)

    def restart(self) -> "Server":
        """Start it again after its death."""
        times = self._times_ready
        self.service.start()
        return self._wait(times)

    @property
    def _times_ready(self) -> int:
        return self.service.words.count('{"ready": true')

    def _wait(self, times: int) -> "Server":
        self.service.ready_when(lambda: self._times_ready > times, "it says that it is ready", 60)
        return self


def whole_server(host: Host) -> Server:
    """Return a server with all roles on one host, not yet started."""
    return Server(host, "all", {"cloud": {"domain": DOMAIN}, "gateway": {"open_networks": [OPEN_NETWORK]}})


def control_server(host: Host) -> Server:
    """Return a control plane on a host of its own, not yet started."""
    return Server(host, "control", {"cloud": {"domain": DOMAIN}, "control": {"listen": f"{host.address}:443"}})


def gateway_server(host: Host, control: Server) -> Server:
    """Return a gateway node on a host of its own, not yet started; files that an admin copies have been copied."""
    secret, ca = host.folder / "node.secret", host.folder / "ca.pem"
    secret.touch(mode=0o600)
    secret.write_text(control.node_secret.read_text())
    ca.write_text(control.ca_file.read_text())
    gateway = {
        "control_url": f"https://management.{DOMAIN}",
        "control_address": f"{control.host.address}:443",
        "control_ca_file": str(ca),
        "node_secret_file": str(secret),
        "open_networks": [OPEN_NETWORK],
    }
    return Server(host, "gateway", {"cloud": {"domain": DOMAIN}, "gateway": gateway})


def names_of_servers(front: Host) -> dict[str, tuple[str, ...]]:
    """Return the DNS names that an admin sets up for a front end, as NameServer takes them."""
    return dict.fromkeys((*CONTROL_NAMES, f".{GATEWAY_ZONE}"), (front.address,))


@dataclass
class Operator:
    """Somebody with the command line `arcgate` and a login of their own."""

    host: Host
    name: str = "operator"
    _login: Service | None = field(default=None, repr=False)

    def arcgate(self, *arguments: str, timeout: float = 60, **environment: str) -> Finished:
        """Run the command to its end; its exit code is for the caller to judge."""
        return self.host.run(_ARCGATE, *arguments, timeout=timeout, **{**self.environment, **environment})

    def ask(self, *arguments: str) -> Any:
        """Return what a command that must succeed prints as JSON."""
        finished = self.arcgate(*arguments, "--output", "json").succeeded()
        return json.loads(finished.output) if finished.output.strip() else None

    def log_in_with_browser(self, ca: Path, user: str, password: str) -> None:
        """Log in with a device code that the user approves in a browser."""
        code = self.begin_login(ca)
        Browser(self.host, f"https://login.{DOMAIN}/devicelogin", ca).approve(code, user, password)
        self.finish_login()

    def begin_login(self, ca: Path) -> str:
        """Start a login with a device code and return the code that it shows."""
        options = ("--use-device-code", "--endpoint", f"https://management.{DOMAIN}", "--ca", str(ca))
        self._login = self.host.start(f"{self.name}-login", _ARCGATE, "login", *options, **self.environment)
        self._login.ready_when(lambda: _USER_CODE.search(self._words()), "it shows a code")
        found = _USER_CODE.search(self._words())
        assert found
        return found["code"]

    def finish_login(self) -> None:
        """Wait until the login that was begun has ended well."""
        login = self._login
        assert login is not None
        wait_until(lambda: not login.is_running, "the login ends")
        assert login.code == 0, login.words

    def log_in_as_service_principal(self, ca: Path, client_id: str, secret: str, tenant: str) -> None:
        """Log in with a client secret."""
        who = ("--service-principal", "--username", client_id, "--tenant", tenant)
        where = ("--endpoint", f"https://management.{DOMAIN}", "--ca", str(ca))
        self.arcgate("login", *who, *where, ARCGATE_CLIENT_SECRET=secret).succeeded()

    def records(self, *filters: str) -> list[dict[str, Any]]:
        """Return audit records, newest first."""
        found = self.ask("audit", *filters)
        assert isinstance(found, list)
        return found

    def _words(self) -> str:
        return self._login.words if self._login is not None else ""

    @property
    def environment(self) -> dict[str, str]:
        return {"ARCGATE_CONFIG_DIR": str(self.host.folder / f"profile-{self.name}")}


@dataclass
class Machine:
    """A server of the customer's, with the agent below a folder of its own once it is installed."""

    host: Host
    services: dict[str, Service] = field(default_factory=dict)
    further_environment: Mapping[str, str] = field(default_factory=dict)
    """For the agent's commands, and for its services from their next start on."""

    @property
    def root(self) -> Path:
        return self.host.folder / "root"

    @property
    def home(self) -> Path:
        return self.root / "var/opt/azcmagent"

    def install(self, gateway_name: str, ca: Path, *reach: str, installer_options: tuple[str, ...] = ()) -> Finished:
        """Download the installer from the gateway's name by curl with the options `reach`, and run it."""
        got = self.host.curl("--fail", "--cacert", str(ca), *reach, f"https://{gateway_name}/azcmagent-linux")
        got.finished.succeeded()
        arguments = ("sh", str(got.file), "--root", str(self.root), *installer_options)
        return self.host.run(*arguments, timeout=180, **self.environment)

    def azcmagent(self, *arguments: str, timeout: float = 90) -> Finished:
        """Run the installed command to its end; its exit code is for the caller to judge."""
        return self.host.run(str(self.root / "usr/bin/azcmagent"), *arguments, timeout=timeout, **self.environment)

    def show(self) -> dict[str, Any]:
        """Return what `azcmagent show -j` prints."""
        document = json.loads(self.azcmagent("show", "-j").succeeded().output)
        assert isinstance(document, dict)
        return document

    def start_services(self) -> "Machine":
        """Start himdsd and arcproxyd and wait until Arc Proxy listens on both loopback addresses."""
        self.host.network.further_logs += [self.home / "log" / name for name in ("arcproxy.log", "himds.log")]
        for name in ("himdsd", "arcproxyd"):
            program = str(self.root / "opt/azcmagent/bin" / name)
            self.services[name] = self.host.start(name, program, **self.environment)
        return self._wait_for_arc_proxy()

    def start_extension_service(self) -> "Machine":
        """Start extd."""
        self.host.network.further_logs.append(self.home / "log" / "extd.log")
        self.services["extd"] = self.host.start("extd", str(self.root / "opt/azcmagent/bin/extd"), **self.environment)
        return self

    def stop_services(self) -> None:
        """Stop himdsd and arcproxyd."""
        for service in self.services.values():
            service.stop()

    def restart_himdsd(self) -> None:
        """Stop himdsd and start it again."""
        self.services["himdsd"].stop()
        self.services["himdsd"].start()

    def restart_arc_proxy(self) -> "Machine":
        """Stop arcproxyd and start it again."""
        self.services["arcproxyd"].stop()
        self.services["arcproxyd"].start()
        return self._wait_for_arc_proxy()

    def _wait_for_arc_proxy(self) -> "Machine":
        proxy = self.services["arcproxyd"]
        proxy.ready_when(lambda: self.host.listens(40343, "127.0.0.1"), "it listens on IPv4's loopback")
        proxy.ready_when(lambda: self.host.listens(40343, "[::1]"), "it listens on IPv6's loopback")
        return self

    def wait_for_goal(self, gateway_name: str) -> "Machine":
        """Wait until Arc Proxy works with this gateway (empty: with none)."""

        def works_with_it() -> bool:
            goal, proxy = self._read("state/goal.json"), self._read("state/arcproxy.json")
            host = (goal.get("gateway") or {}).get("host", "")
            return bool(goal) and host == gateway_name and proxy.get("goalRevision") == goal.get("revision")

        wait_until(works_with_it, f"Arc Proxy works with the gateway {gateway_name!r}", 60)
        return self

    def curl(self, *arguments: str, timeout: float = 30) -> Curled:
        """Run curl through Arc Proxy."""
        return self.host.curl("--proxy", ARC_PROXY, *arguments, timeout=timeout)

    @property
    def proxy_log(self) -> str:
        """Arc Proxy's log of requests."""
        file = self.home / "log/arcproxy.log"
        return file.read_text() if file.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        clouds = str(self.root / "etc/azcmagent/clouds.d")
        path = f"{_PYTHON_FOLDER}:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"AZCMAGENT_HOME": str(self.home), "AZCMAGENT_CLOUDS": clouds, "PATH": path}
        return {**own, **self.further_environment}

    def _read(self, name: str) -> dict[str, Any]:
        file = self.home / name
        document = json.loads(file.read_text()) if file.exists() else {}
        assert isinstance(document, dict)
        return document


def _toml(state: Path, settings: Mapping[str, Mapping[str, object]]) -> str:
    # TOML writes strings, numbers, booleans and lists of them as JSON does.
    lines = [f"state_dir = {json.dumps(str(state))}"]
    for section, values in settings.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join((*lines, ""))
