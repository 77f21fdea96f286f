"""The usual network of the end-to-end tests, built in one call: who stands where, and who may talk to whom.

    machine ── firewall ──▶ squid ── firewall ──▶ gateway (──▶ control plane) ──▶ targets
    operator and name server beside them

Without Squid the machine's firewall lets out the gateway's port 443 alone.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from worlds.network import Curled, Host, Network
from worlds.network_cloud import (
    ARC_PROXY,
    GATEWAY_ZONE,
    Machine,
    Operator,
    Server,
    control_server,
    gateway_server,
    names_of_servers,
    whole_server,
)
from worlds.network_processes import Finished, Service
from worlds.network_services import SQUID_PORT, NameServer, Squid, TargetService
from worlds.waiting import wait_until

GROUP = "servers"
LOCATION = "eastus"
MACHINE = "machine"
ALLOWED_TARGETS = ("agentserviceapi.guestconfiguration.azure.com", "customer.blob.core.windows.net")
"""Names of the shipped catalogue."""
PLAIN_TARGET = "www.microsoft.com"
"""The catalogue allows its port 80."""
FORBIDDEN_TARGET = "elsewhere.test.example"
"""A name that exists, and that no feature holds."""


@dataclass
class Stage:
    """A network with a running cloud, an operator who is logged in, targets, and a machine without agent."""

    net: Network
    name_server: NameServer
    servers: list[Server]
    """The control plane first, the gateway last; one server may be both."""
    operator: Operator
    machine: Machine
    squid: Squid | None
    target: TargetService
    """One server that stands for all targets' names."""
    plain_target: TargetService
    """The same without TLS, on port 80."""
    _principals: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def control(self) -> Server:
        return self.servers[0]

    @property
    def gateway(self) -> Server:
        return self.servers[-1]

    @property
    def zone(self) -> str:
        """What the gateways' names end in."""
        return GATEWAY_ZONE

    @property
    def trust(self) -> tuple[str, str]:
        """Options of curl for the targets."""
        return "--cacert", str(self.target.authority.file)

    def create_gateway(self, name: str) -> dict[str, Any]:
        """Create a gateway resource that allows everything of the catalogue, as the original's documents say."""
        where = ("--name", name, "--resource-group", GROUP, "--location", LOCATION)
        what = ("--gateway-type", "public", "--allowed-features", "*")
        created = self.operator.ask("gateway", "create", *where, *what)
        assert isinstance(created, dict)
        return created

    def install(self, name: str) -> Finished:
        """Install the agent on the machine from one of our names, by the one way that its firewall leaves."""
        if self.squid is not None:
            proxy = ("--proxy", self.squid.url)
            return self.machine.install(name, self.control.ca_file, *proxy, installer_options=proxy)
        # No name server is within reach: curl, and the downloads of the installer, go by the hosts file.
        self.machine.host.know(name, self.gateway.host)
        return self.machine.install(name, self.control.ca_file)

    def connect(self, *options: str) -> Finished:
        """Run `azcmagent connect` as a service principal with the onboarding role, its secret in a file."""
        who = self._sign_in("Azure Connected Machine Onboarding")
        where = ("--subscription-id", self.control.initial_admin["subscriptionId"])
        what = ("--resource-group", GROUP, "--location", LOCATION, "--resource-name", MACHINE)
        return self.machine.azcmagent("connect", *who, *where, *what, *options)

    def disconnect(self) -> Finished:
        """Run `azcmagent disconnect` as a service principal that may delete machines."""
        who = self._sign_in("Azure Connected Machine Resource Administrator")
        return self.machine.azcmagent("disconnect", *who)

    def _sign_in(self, role: str) -> tuple[str, ...]:
        """Return the flags of a service principal with that role, which is made once."""
        if role not in self._principals:
            self._principals[role] = self._make_principal(role)
        return self._principals[role]

    def _make_principal(self, role: str) -> tuple[str, ...]:
        number = next(self.net.numbers)
        made = self.operator.ask("service-principal", "create", "--name", f"principal-{number}", "--role", role)
        secret = self.machine.host.folder / f"secret-{number}.json"
        secret.touch(mode=0o600)
        secret.write_text(json.dumps({"service-principal-secret": made["clientSecret"]}))
        tenant = self.control.initial_admin["tenantId"]
        return "--service-principal-id", made["clientId"], "--tenant-id", tenant, "--config", str(secret)

    def onboard(self, gateway: Mapping[str, Any]) -> "Stage":
        """Install the agent, connect it with a gateway, start its services and wait until Arc Proxy knows its way."""
        self.install(gateway["properties"]["gatewayEndpoint"]).succeeded()
        self.connect("--gateway-id", gateway["id"]).succeeded()
        self.machine.azcmagent("config", "set", "connection.type", "gateway").succeeded()
        self.machine.start_services().wait_for_goal(gateway["properties"]["gatewayEndpoint"])
        return self

    def fetch_slowly(self, pieces: int) -> Service:
        """Start a download of so many pieces, 50 ms apart, through Arc Proxy, and wait until it flows."""
        file = self.machine.host.folder / f"slow-{next(self.net.numbers)}"
        url = f"https://{ALLOWED_TARGETS[0]}/slow/{pieces}"
        curl = ("curl", "--silent", "--show-error", "--no-buffer", "--proxy", ARC_PROXY, *self.trust)
        download = self.machine.host.start(file.name, *curl, "--output", str(file), url)
        return download.ready_when(lambda: file.exists() and file.stat().st_size, "bytes flow")

    def ended(self, download: Service) -> int | None:
        """Wait for the end of a process and return its exit code."""
        wait_until(lambda: not download.is_running, f"{download.name} has ended")
        return download.code

    def fetch(self, path: str, *options: str, target: str = ALLOWED_TARGETS[0]) -> Curled:
        """Fetch a path of a target through Arc Proxy by curl."""
        return self.machine.curl(*self.trust, *options, f"https://{target}{path}")

    def associate(self, gateway_id: str) -> None:
        """Associate the machine with a gateway ('null': with none), by the command of the original's documents."""
        base = ("--base-provider", "Microsoft.HybridCompute", "--base-resource-type", "machines")
        machine = ("--base-resource-name", MACHINE, "--settings-resource-name", "default")
        self.operator.ask(
            "setting", "update", "--resource-group", GROUP, *base, *machine, "--gateway-resource-id", gateway_id
        )

    def create_extension(
        self, name: str, type_: str, settings: Mapping[str, Any], protected: Mapping[str, Any]
    ) -> None:
        """Want one of our extensions on the machine."""
        file = self.operator.host.folder / f"protected-{next(self.net.numbers)}.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(protected))
        what = ("--publisher", "Arcgate", "--type", type_, "--settings", json.dumps(settings))
        create = ("machine", "extension", "create", "--name", name, *self._extension_place, *what)
        self.operator.ask(*create, "--protected-settings", f"@{file}")

    def extension_status(self, name: str) -> dict[str, Any]:
        """Return what the machine last said of an extension."""
        shown = self.operator.ask("machine", "extension", "show", "--name", name, *self._extension_place)
        return dict(shown["properties"]["instanceView"]["status"])

    def delete_extension(self, name: str) -> None:
        """Want an extension no more."""
        delete = ("machine", "extension", "delete", "--yes", "--name", name, *self._extension_place)
        self.operator.arcgate(*delete).succeeded()

    @property
    def _extension_place(self) -> tuple[str, ...]:
        return "--machine-name", MACHINE, "--resource-group", GROUP

    def wait_for_record(self, *filters: str, **values: object) -> dict[str, Any]:
        """Wait for an audit record with these values and return it."""

        def find() -> dict[str, Any] | None:
            found = self.operator.records(*filters)
            return next((one for one in found if values.items() <= one.items()), None)

        record = wait_until(find, f"there is an audit record with {values}")
        assert record is not None
        return record


@contextmanager
def stage(
    *,
    squid: bool = True,
    squid_allows: tuple[str, ...] = (f".{GATEWAY_ZONE}",),
    apart: bool = False,
    more_targets: tuple[str, ...] = (),
) -> Iterator[Stage]:
    """Build the network; `apart` puts control plane and gateway on hosts of their own."""
    with Network() as net:
        machine, operator, dns, front, far = (
            net.host(name) for name in ("machine", "operator", "dns", "gateway", "targets")
        )
        control_host = net.host("control") if apart else front
        targets = dict.fromkeys((*ALLOWED_TARGETS, PLAIN_TARGET, FORBIDDEN_TARGET, *more_targets), (far.address,))
        name_server = NameServer(dns, {**names_of_servers(front), **targets}).start()
        for host in (operator, front, control_host):
            host.resolve_by(dns)
        proxy = _put_squid(net, dns, front, squid_allows) if squid else None
        machine.firewall(allow=[(proxy.host, SQUID_PORT) if proxy is not None else (front, 443)])
        servers = _start_servers(front, control_host)
        authority = net.authority()
        target, plain = (TargetService(far, tuple(targets), authority, port).start() for port in (443, 80))
        built = Stage(net, name_server, servers, Operator(operator), Machine(machine), proxy, target, plain)
        yield _prepare(built)


def _start_servers(front: Host, control_host: Host) -> list[Server]:
    if control_host is front:
        return [whole_server(front).start()]
    control = control_server(control_host).start()
    return [control, gateway_server(front, control).start()]


def _put_squid(net: Network, dns: Host, front: Host, allowed: tuple[str, ...]) -> Squid:
    host = net.host("squid")
    host.firewall(allow=[(front, 443), (dns, 53, "udp"), (dns, 53, "tcp")])
    return Squid(host, dns, allowed).start()


def _prepare(built: Stage) -> Stage:
    admin = built.control.initial_admin
    built.operator.log_in_with_browser(built.control.ca_file, admin["user"], admin["password"])
    built.operator.arcgate("account", "set", "--subscription", admin["subscriptionId"]).succeeded()
    built.operator.ask("group", "create", "--name", GROUP, "--location", LOCATION)
    return built
