"""The usual network with a connected machine behind Squid, for scenarios: the vendor's names, and what is switched on.

Names of the catalogue's endpoints lead to stand-ins of the vendor; the machine reaches them by the gateway alone.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from arcgate.core.catalogue import Scenario, shipped_catalogue
from arcgate.core.catalogue.placeholders import filled
from arcgate.core.patterns import parse_pattern
from worlds.network import Curled
from worlds.network_cloud import ARC_PROXY, Machine
from worlds.network_services import SQUID_PORT, TargetService
from worlds.network_stage import GROUP, Stage, stage
from worlds.network_vendor import Vendor, vendor
from worlds.vendor.server import services
from worlds.waiting import wait_until

CLIENTS = Path(__file__).parents[1] / "net" / "clients"
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "dce": "logs-ab1c",
        "workspace-id": "11111111-2222-3333-4444-555555555555",
        "extension-account": "extensions1",
        "vault": "my-vault",
        "registry": "mine",
        "organisation": "team",
        "namespace": "my-relay",
        "hub": "my-hub",
    }
)
"""What the gateway's admin has filled in; the regions stay open."""
OWN_SET, OWN_TARGET = "own", "nobody.test.example"
"""An endpoint set that holds this target, which is there when all scenarios are off."""


def host_of(endpoint: str) -> str:
    """Return the name that a test uses for an endpoint of a scenario, without its port."""
    values = {**PARAMETERS, "region": "eastus", "his-region": "eus"}
    catalogue = shipped_catalogue()
    (text,) = filled(endpoint, {name: (value,) for name, value in values.items()}, catalogue.placeholders)
    return text.partition(":")[0].replace("*", "some")


def target_of(endpoint: str) -> str:
    """Return host and port for an endpoint of a scenario."""
    return f"{host_of(endpoint)}:{endpoint.partition(':')[2] or 443}"


def rule_of(endpoint: str) -> str:
    """Return the pattern that the gateway makes of an endpoint, as the audit writes it."""
    catalogue = shipped_catalogue()
    (text,) = filled(endpoint, {name: (value,) for name, value in PARAMETERS.items()}, catalogue.placeholders)
    return parse_pattern(text).text


def scenario_named(name: str) -> Scenario:
    """Return a scenario of the shipped catalogue."""
    return shipped_catalogue().scenarios[name]


@dataclass
class ScenarioNetwork:
    """A stage with the vendor on it, and a gateway whose allowed features are switched."""

    stage: Stage
    vendor: Vendor
    gateway_name: str
    allowed: tuple[str, ...] = field(default=("*",))

    @property
    def machine(self) -> Machine:
        return self.stage.machine

    @property
    def ca(self) -> Path:
        """What clients trust for the vendor's names."""
        return self.stage.target.authority.file

    def curl(self, *arguments: str) -> Curled:
        """Run curl that takes its proxy only from its own setting, and must get what it asks for."""
        got = self.machine.curl("--disable", "--noproxy", "", "--fail", *self.stage.trust, *arguments)
        got.finished.succeeded()
        return got

    def reach(self, *targets: str) -> dict[str, int]:
        """Ask all targets (HOST:PORT) for a page by one curl; return the status that each answered, 0 for none."""
        urls = [f"{'http' if one.endswith(':80') else 'https'}://{one}/" for one in targets]
        words = [word for url in urls for word in ("--output", "/dev/null", url)]
        options = ("--disable", "--silent", "--parallel", "--proxy", ARC_PROXY, *self.stage.trust)
        done = self.machine.host.run("curl", *options, "--write-out", "%{url} %{http_code}\n", *words)
        said = dict(line.split(" ") for line in done.output.splitlines())
        return {target: int(said[url]) for target, url in zip(targets, urls, strict=True)}

    def new_folder(self) -> Path:
        """Make an empty folder of the machine's."""
        folder = self.machine.host.folder / f"folder-{next(self.stage.net.numbers)}"
        folder.mkdir()
        return folder

    def new_file(self, content: bytes) -> Path:
        """Make a file of the machine's."""
        file = self.machine.host.folder / f"file-{next(self.stage.net.numbers)}"
        file.write_bytes(content)
        return file

    def allow(self, *names: str) -> None:
        """Let the gateway carry these features and scenarios alone, and wait until machine and node know."""
        if self.allowed == names:
            return
        where = ("--name", "edge", "--resource-group", GROUP)
        self.stage.operator.ask("gateway", "update", *where, "--allowed-features", *names)
        self.allowed = names
        self.wait_for_goal()

    def wait_for_goal(self) -> None:
        """Wait until Arc Proxy works by the features that were set last."""
        parameters = {name: (value,) for name, value in PARAMETERS.items()}
        wanted = {pattern.text for _, pattern in shipped_catalogue().patterns(self.allowed, parameters)}
        wanted |= {OWN_TARGET} if OWN_SET in self.allowed else set()
        self._wait_for_goal(lambda goal: set(goal["allowed"]) == wanted, f"that {self.allowed} are allowed")

    def _wait_for_goal(self, condition: Callable[[Mapping[str, Any]], bool], what: str) -> None:
        def knows() -> bool:
            goal, proxy = (self._state(name) for name in ("goal.json", "arcproxy.json"))
            return bool(goal) and condition(goal) and proxy.get("goalRevision") == goal["revision"]

        wait_until(knows, f"Arc Proxy knows {what}")

    @property
    def goal_revision(self) -> int:
        """The revision that the machine works by."""
        return int(self._state("goal.json")["revision"])

    def set_agent(self, name: str, value: str) -> None:
        """Change a setting of the agent and wait until Arc Proxy works by it."""
        before = self.machine.proxy_log.count("settings in use")
        self.machine.azcmagent("config", "set", name, value).succeeded()
        wait_until(lambda: self.machine.proxy_log.count("settings in use") > before, f"Arc Proxy has {name}")

    def observe(self) -> str:
        """Let the gateway carry and record what its policy forbids; return the time of the last record before."""
        (last,) = self.stage.operator.records("--top", "1")
        self.stage.operator.ask("policy", "set", "--name", "edge", "--resource-group", GROUP, "--mode", "audit")
        self._wait_for_goal(lambda goal: goal.get("takesAll") is True, "that the gateway takes everything")
        return str(last["time"])

    def propose(self, since: str, targets: Collection[str]) -> Path:
        """Return the file of a proposal made of what passed since then, once it names these targets."""
        file = self.stage.operator.host.folder / "draft.json"

        def propose() -> bool:
            where = ("--name", "edge", "--resource-group", GROUP, "--since", since)
            self.stage.operator.arcgate("policy", "propose", *where, "--file", str(file)).succeeded()
            draft = json.loads(file.read_text())
            named = {target_of(text) for one in draft["endpointSets"] for text in one["endpoints"]}
            return named == set(targets)

        wait_until(propose, "the proposal names what was used")
        return file

    def apply(self, draft: Path) -> None:
        """Put a draft into force, and wait until machine and node know."""
        self.stage.operator.arcgate("policy", "apply", "--yes", str(draft)).succeeded()
        self.allowed = ()
        self._wait_for_goal(lambda goal: "takesAll" not in goal, "that the gateway enforces its policy")

    def ask_gateway(self, *targets: str) -> dict[str, str]:
        """Ask the gateway itself with the machine's certificate; return status and reason by target."""
        assert self.stage.squid is not None
        certificates = self.machine.home / "certs"
        keys = (str(certificates / "machine.pem"), str(certificates / "machine.key"))
        way = (self.stage.squid.host.address, str(SQUID_PORT), self.gateway_name, str(self.stage.control.ca_file))
        script = (sys.executable, str(CLIENTS / "ask_gateway.py"), *way, *keys, *targets)
        answer = self.machine.host.run(*script).succeeded()
        return {line.partition(" ")[0]: line.partition(" ")[2] for line in answer.output.splitlines()}

    def records_of(self, *scenarios: str, event: str = "start") -> list[dict[str, Any]]:
        """Return the audit's records of tunnels that scenarios allowed."""
        found = self.stage.operator.records("--event", event, "--top", "2000")
        return [one for one in found if one["feature"] in scenarios]

    def _state(self, name: str) -> dict[str, Any]:
        file = self.machine.home / "state" / name
        document = json.loads(file.read_text()) if file.exists() else {}
        assert isinstance(document, dict)
        return document


Workload = Callable[[ScenarioNetwork], None]
"""Runs clients on the machine; raises AssertionError when they don't get what they ask for."""


@dataclass(frozen=True)
class Refusals:
    """What came of workloads and targets while their scenarios were off."""

    worked: Collection[str]
    """Scenarios whose clients succeeded all the same."""
    arrived: Collection[str]
    """Names that somebody reached."""
    ways: Collection[str]
    """What Arc Proxy wrote of requests that it left to the enterprise."""
    answers: Mapping[str, str]
    """What the gateway said to a machine that asked it for the target all the same: status and reason."""
    recorded: Mapping[str, str]
    """Reasons of the audit's refusals by target."""

    def hold(self, scenario: str, endpoints: Collection[str]) -> None:
        """Assert that the scenario was refused: its clients failed, nothing arrived, and everybody says why."""
        hosts, targets = {host_of(one) for one in endpoints}, [target_of(one) for one in endpoints]
        assert scenario not in self.worked
        assert not hosts & set(self.arrived)
        # Arc Proxy leaves to the enterprise what isn't the gateway's, and the enterprise refuses it.
        assert any(f"target={host}:" in line and "status=403" in line for line in self.ways for host in hosts)
        assert {self.answers[target] for target in targets} == {"403 target_not_allowed"}
        assert {self.recorded[target] for target in targets} == {"target_not_allowed"}


def refusals(net: ScenarioNetwork, workloads: Mapping[str, Workload], targets: Collection[str]) -> Refusals:
    """Switch all scenarios off, run their clients all at once, and ask the gateway for the targets."""
    net.allow(OWN_SET)
    arrived, connections = len(net.vendor.exchanges()), len(net.stage.target.connections)
    lines = len(net.machine.proxy_log.splitlines())
    worked = [name for name, failure in run_all(net, workloads).items() if failure is None]
    assert len(net.stage.target.connections) == connections
    answers = net.ask_gateway(*targets)

    def recorded() -> dict[str, str]:
        found = net.stage.operator.records("--verdict", "refused", "--top", "500")
        reasons = {one["target"]: str(one["reason"]) for one in found}
        return reasons if reasons.keys() >= set(targets) else {}

    reasons = wait_until(recorded, f"the audit has refusals of {targets}")
    ways = [line for line in net.machine.proxy_log.splitlines()[lines:] if "the gateway does not carry it" in line]
    return Refusals(worked, [one["host"] for one in net.vendor.exchanges()[arrived:]], ways, answers, reasons)


def run_all(net: ScenarioNetwork, workloads: Mapping[str, Workload]) -> dict[str, AssertionError | None]:
    """Run workloads side by side; return what failed by the name of each."""

    def run(workload: Workload) -> AssertionError | None:
        try:
            workload(net)
        except AssertionError as error:
            return error
        return None

    with ThreadPoolExecutor(len(workloads)) as pool:
        return dict(zip(workloads, pool.map(run, workloads.values()), strict=True))


@contextmanager
def switched_on(net: ScenarioNetwork, scenario: str, endpoints: Collection[str]) -> Iterator[None]:
    """Allow the scenario alone; afterwards the audit has tunnels to these endpoints alone, by the catalogue's rules."""
    net.allow(scenario)
    wanted = {target_of(one): rule_of(one) for one in endpoints}
    first = next(iter(wanted))
    wait_until(lambda: net.ask_gateway(first)[first] == "200 -", f"the gateway carries {first}")
    yield

    def recorded() -> bool:
        records = [one for one in net.records_of(scenario) if one["policyRevision"] >= net.goal_revision]
        return {one["target"]: one["rule"] for one in records} == wanted

    wait_until(recorded, f"the audit has tunnels to {wanted} by {scenario}", 10)


@contextmanager
def scenario_network() -> Iterator[ScenarioNetwork]:
    """Build the network, connect the machine by its gateway and fill in the parameters."""
    names = {host_of(endpoint.text) for one in shipped_catalogue().scenarios.values() for endpoint in one.endpoints}
    near = tuple(host for host in sorted(names) if host.endswith(tuple(services(Path()))))
    far = tuple(sorted(names - {*near}))
    with stage(more_targets=far) as built:
        host = built.net.host("vendor")
        built.name_server.names.update(dict.fromkeys(near, (host.address,)))
        built.name_server.answer(near[0], host.address)
        standing = vendor(host, near, built.target.authority)
        TargetService(built.target.host, far, built.target.authority, 8084).start()
        gateway = built.create_gateway("edge")
        built.onboard(gateway)
        parameters = [f"{name}={value}" for name, value in PARAMETERS.items()]
        arguments = [word for one in parameters for word in ("--parameter", one)]
        own = ("--name", OWN_SET, "--resource-group", GROUP, "--endpoints", OWN_TARGET)
        built.operator.ask("endpoint-set", "create", *own)
        built.operator.ask("policy", "set", "--name", "edge", "--resource-group", GROUP, *arguments)
        yield ScenarioNetwork(built, standing, gateway["properties"]["gatewayEndpoint"])
