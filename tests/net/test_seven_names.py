"""The original's way: seven names are open in Squid, and an existing machine begins to use a gateway later."""

from collections.abc import Iterator

import pytest

from worlds.network_cloud import CONTROL_NAMES, DOMAIN, GATEWAY_ZONE, Operator
from worlds.network_stage import GROUP, Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def seven() -> Iterator[Stage]:
    with stage(squid_allows=(f".{GATEWAY_ZONE}", *CONTROL_NAMES)) as built:
        yield built


def test_a_service_principal_manages_gateways_without_a_person(seven: Stage) -> None:
    made = seven.operator.ask("service-principal", "create", "--name", "automation", "--role", "Contributor")
    robot = Operator(seven.operator.host, "robot")
    tenant = seven.control.initial_admin["tenantId"]
    robot.log_in_as_service_principal(seven.control.ca_file, made["clientId"], made["clientSecret"], tenant)
    robot.ask("gateway", "create", "--name", "made-by-a-robot", "--resource-group", GROUP)
    robot.arcgate("gateway", "delete", "--name", "made-by-a-robot", "--resource-group", GROUP, "--yes").succeeded()
    assert seven.operator.ask("gateway", "list") == []


def test_an_existing_machine_goes_over_to_a_gateway(seven: Stage) -> None:
    assert seven.squid is not None
    gateway = seven.create_gateway("edge")
    name = gateway["properties"]["gatewayEndpoint"]
    seven.install(f"packages.{DOMAIN}").succeeded()
    seven.connect().succeeded()
    seven.machine.start_services()
    wait_until(lambda: seven.machine.show()["status"] == "Connected", "the machine is connected without a gateway")
    for used in ("packages", "management", "login", "gbl.his", "eastus.his"):
        assert f"200 CONNECT {used}.{DOMAIN}:443" in seven.squid.requests
    assert not any(name in line for line in seven.squid.requests)
    assert seven.fetch("/").connect_status == 403

    seven.associate(gateway["id"])
    seven.machine.azcmagent("config", "set", "connection.type", "gateway").succeeded()
    seven.machine.wait_for_goal(name)
    assert seven.fetch("/").status == 200
    assert name in seven.machine.show()["gatewayUrl"]
