"""Every scenario that is marked as tested, end to end: real clients on a machine that reaches the gateway alone.

Each test switches its scenario off and on. The marker says which client used which endpoint of the catalogue;
docs/reference/scenarios.md shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.catalogue import shipped_catalogue
from worlds.scenario_marks import ScenarioMark, scenario_marks
from worlds.scenario_network import (
    OWN_SET,
    Refusals,
    ScenarioNetwork,
    host_of,
    refusals,
    run_all,
    scenario_network,
    switched_on,
    target_of,
)
from worlds.scenario_workloads import BULK, UPLOAD, WORKLOADS, web_socket
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def network() -> Iterator[ScenarioNetwork]:
    with scenario_network() as built:
        yield built


@pytest.fixture(scope="module")
def while_off(network: ScenarioNetwork) -> Refusals:
    endpoints = {endpoint for one in scenario_marks(Path(__file__)) for endpoint in one.endpoints}
    return refusals(network, WORKLOADS, [target_of(one) for one in sorted(endpoints)])


@dataclass(frozen=True)
class Scene:
    """The scenario of a test."""

    net: ScenarioNetwork
    scenario: str
    endpoints: tuple[str, ...]
    while_off: Refusals

    def is_carried_only_while_on(self) -> None:
        self.while_off.hold(self.scenario, self.endpoints)
        with switched_on(self.net, self.scenario, self.endpoints):
            WORKLOADS[self.scenario](self.net)


@pytest.fixture
def scene(network: ScenarioNetwork, while_off: Refusals, request: pytest.FixtureRequest) -> Scene:
    (mark,) = (one for one in scenario_marks(Path(__file__)) if one.test.endswith(f"::{request.node.name}"))
    return Scene(network, mark.scenario, mark.endpoints, while_off)


@pytest.mark.scenario(
    "AzureMonitorAgent",
    {
        "global.handler.control.monitor.azure.com": "curl",
        "<region>.handler.control.monitor.azure.com": "curl",
        "<region>.monitoring.azure.com": "curl",
        "<dce>.<region>.ingest.monitor.azure.com": "azure-monitor-ingestion, OpenTelemetry's OTLP exporter",
        "<workspace-id>.ods.opinsights.azure.com": "requests",
        "management.azure.com": "curl",
    },
)
def test_logs_and_metrics_reach_the_monitor_and_the_workspace(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario(
    "Sentinel",
    {
        "global.handler.control.monitor.azure.com": "curl",
        "<region>.handler.control.monitor.azure.com": "curl",
        "<dce>.<region>.ingest.monitor.azure.com": "azure-monitor-ingestion",
        "<workspace-id>.ods.opinsights.azure.com": "requests",
    },
)
def test_security_logs_reach_the_workspace_of_sentinel(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario(
    "DefenderForEndpoint",
    {"*": "curl with a proxy setting of its own"},
)
def test_a_sensor_with_a_proxy_setting_of_its_own_gets_signatures_and_sends_samples(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("UpdateManager", {"packages.microsoft.com": "apt, dnf", "*": "curl"})
def test_apt_and_dnf_verify_repositories_and_fetch_packages(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("SqlServer", {"*.<region>.arcdataservices.com": "curl with TLS 1.2 at most"})
def test_bulk_of_tls_1_2_moves_both_ways_byte_for_byte_and_stays_in_the_channel(scene: Scene) -> None:
    scene.is_carried_only_while_on()

    def bulky() -> list[dict[str, Any]]:
        ends = scene.net.records_of("SqlServer", event="end")
        return [one for one in ends if one["bytesDown"] > BULK or one["bytesUp"] > UPLOAD]

    wait_until(lambda: len(bulky()) == 2, "the audit has the ends of download and upload")
    assert {one["handedOver"] for one in bulky()} == {False}


@pytest.mark.scenario(
    "KeyVault",
    {"<vault>.vault.azure.net": "azure-keyvault-secrets", "login.microsoftonline.com": "azure-identity"},
)
def test_a_secret_is_kept_in_a_vault_that_challenges(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario(
    "ContainerRegistry",
    {
        "<registry>.azurecr.io": "skopeo",
        "<registry>.<region>.data.azurecr.io": "skopeo",
        "mcr.microsoft.com": "skopeo",
        "*.data.mcr.microsoft.com": "skopeo",
    },
)
def test_images_are_pulled_with_layers_from_another_name(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("Git", {"dev.azure.com": "git"})
def test_git_clones_and_pushes(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("RelayedWebSockets", {"<namespace>.servicebus.windows.net": "websocket-client"})
def test_a_web_socket_is_held_open_by_its_pings(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("RelayedWebSockets", {"<namespace>.servicebus.windows.net": "websocket-client"})
def test_pings_keep_a_web_socket_beyond_the_idle_time_and_a_silent_one_ends_by_it(network: ScenarioNetwork) -> None:
    network.allow("RelayedWebSockets")
    network.set_agent("arcproxy.timeout.idle", "2")  # hours unless set; see the tests of the limits
    web_socket(network, pause=0.25, pings=10)
    with pytest.raises(AssertionError, match=r"WebSocket|Connection|reset"):
        web_socket(network, pings=0)
    host = host_of("<namespace>.servicebus.windows.net")
    ends = [line for line in network.machine.proxy_log.splitlines() if f"target={host}:443 " in line]
    assert "reason=completed" in ends[-2]
    assert "reason=idle_timeout" in ends[-1]
    network.set_agent("arcproxy.timeout.idle", "14400")


@pytest.mark.scenario("*", {"*": "curl"})
def test_the_gateway_carries_every_endpoint_of_every_scenario(network: ScenarioNetwork, while_off: Refusals) -> None:
    scenarios = shipped_catalogue().scenarios
    network.allow(*scenarios)
    targets = all_targets()
    assert {while_off.answers[target] for target in targets} == {"403 target_not_allowed"}
    carried = dict.fromkeys(targets, "200 -")
    wait_until(lambda: network.ask_gateway(*targets) == carried, "the gateway carries all of them")
    begin = len(network.machine.proxy_log.splitlines())
    answers = network.reach(*targets)
    assert {one: status for one, status in answers.items() if status not in {200, 401, 403, 404}} == {}
    lines = network.machine.proxy_log.splitlines()[begin:]
    assert not [line for line in lines if "target=" in line and 'why="the gateway allows it"' not in line]
    starts = {one["target"] for one in network.records_of(*scenarios)}
    assert targets <= starts


def test_a_proposal_from_one_recorded_run_lets_the_same_run_through_and_nothing_else(network: ScenarioNetwork) -> None:
    used = {target_of(one) for mark in workload_marks() for one in mark.endpoints}
    network.allow(OWN_SET)
    begin = network.observe()
    wait_until(lambda: "200 -" in network.ask_gateway(min(used)).values(), "the gateway lets everything through")
    assert run_all(network, WORKLOADS) == dict.fromkeys(WORKLOADS)
    draft = network.propose(begin, used)
    network.stage.operator.arcgate("policy", "replay", str(draft), "--since", begin).succeeded()
    network.apply(draft)
    others = (all_targets() | {"another.vault.azure.net:443", "some.wd.microsoft.com:80"}) - used
    refused = dict.fromkeys(others, "403 target_not_allowed")
    wait_until(lambda: network.ask_gateway(*refused) == refused, "the gateway refuses all that was not used")
    assert run_all(network, WORKLOADS) == dict.fromkeys(WORKLOADS)


def workload_marks() -> list[ScenarioMark]:
    return [mark for mark in scenario_marks(Path(__file__)) if "every_endpoint" not in mark.test]


def all_targets() -> set[str]:
    scenarios = shipped_catalogue().scenarios.values()
    return {target_of(endpoint.text) for one in scenarios for endpoint in one.endpoints}
