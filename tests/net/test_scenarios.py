"""Every scenario that is marked as tested, end to end: real clients on a machine that reaches the gateway alone.

Each test switches its scenario off and on. The marker says which client used which endpoint of the catalogue;
docs/reference/scenarios.md shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from worlds.scenario_marks import scenario_marks
from worlds.scenario_network import Refusals, ScenarioNetwork, refusals, scenario_network, switched_on, target_of
from worlds.scenario_workloads import WORKLOADS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def network() -> Iterator[ScenarioNetwork]:
    with scenario_network() as built:
        yield built


@pytest.fixture(scope="module")
def while_off(network: ScenarioNetwork) -> Refusals:
    endpoints = {endpoint for one in scenario_marks(Path(__file__)) for endpoint in one.clients}
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
    scenario, clients = request.node.get_closest_marker("scenario").args
    return Scene(network, scenario, tuple(clients), while_off)


@pytest.mark.scenario(
    "AzureMonitorAgent",
    {
        "global.handler.control.monitor.azure.com": "curl",
        "<region>.handler.control.monitor.azure.com": "curl",
        "<region>.monitoring.azure.com": "curl",
        "<dce>.<region>.ingest.monitor.azure.com": "azure-monitor-ingestion, OpenTelemetry's OTLP exporter",
        "<workspace-id>.ods.opinsights.azure.com": "requests, with the workspace's signature",
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
        "<workspace-id>.ods.opinsights.azure.com": "requests, with the workspace's signature",
    },
)
def test_security_logs_reach_the_workspace_of_sentinel(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario(
    "DefenderForEndpoint",
    {
        "*.wdcp.microsoft.com": "curl with a proxy of its own setting alone",
        "definitionupdates.microsoft.com": "curl with a proxy of its own setting alone",
        "automatedirstrprd*.blob.core.windows.net": "curl with a proxy of its own setting alone",
    },
)
def test_a_sensor_with_a_proxy_setting_of_its_own_gets_signatures_and_sends_samples(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("UpdateManager", {"packages.microsoft.com": "apt"})
def test_apt_reads_a_signed_repository_and_fetches_a_package(scene: Scene) -> None:
    scene.is_carried_only_while_on()


@pytest.mark.scenario("SqlServer", {"*.<region>.arcdataservices.com": "curl with TLS 1.2 at most"})
def test_bulk_of_tls_1_2_moves_both_ways_byte_for_byte_and_stays_in_the_channel(scene: Scene) -> None:
    scene.is_carried_only_while_on()
    ends = scene.net.records_of("SqlServer", "end")
    assert max(one["bytesDown"] for one in ends) > 20_000_000
    assert {one["handedOver"] for one in ends} == {False}


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
