"""Every kind of enterprise proxy, and all that an agent does behind one: connect, check, traffic, reconcile, renew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worlds.network_cloud import Machine
from worlds.network_processes import Finished
from worlds.network_proxies import KINDS, PASSWORD, Placed
from worlds.network_services import digest, digest_of_known_bytes
from worlds.network_stage import Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@dataclass
class Cloud:
    """One cloud with two gateways, for all kinds."""

    stage: Stage
    first: Mapping[str, Any]
    second: Mapping[str, Any]


@dataclass
class Behind:
    """The machine behind one kind of proxy, after `azcmagent connect`."""

    cloud: Cloud
    placed: Placed
    connected: Finished

    @property
    def stage(self) -> Stage:
        return self.cloud.stage

    @property
    def machine(self) -> Machine:
        return self.stage.machine


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with stage(squid=False) as built:
        first, second = built.create_gateway("first"), built.create_gateway("second")
        built.install(name_of(first)).succeeded()
        yield Cloud(built, first, second)


def name_of(gateway: Mapping[str, Any]) -> str:
    return str(gateway["properties"]["gatewayEndpoint"])


@pytest.fixture(scope="module", params=KINDS)
def behind(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Behind]:
    kind: str = request.param
    built = cloud.stage
    machine, host = built.machine, built.net.host(kind)
    placed = KINDS[kind](built, host)
    machine.host.forget()
    for name, where in placed.names.items():
        machine.host.know(name, where)
    machine.host.firewall(allow=placed.allow)
    machine.further_environment = placed.environment
    for name, value in placed.settings.items():
        machine.azcmagent("config", "set", name, value).succeeded()
    connected = built.connect("--gateway-id", cloud.first["id"])
    machine.azcmagent("config", "set", "connection.type", "gateway").succeeded()
    machine.start_services()
    yield Behind(cloud, placed, connected)
    built.disconnect().succeeded()
    machine.stop_services()
    for name in placed.settings:
        machine.azcmagent("config", "clear", name).succeeded()
    for service in host.services:
        service.stop()


def test_a_machine_connects(behind: Behind) -> None:
    behind.connected.succeeded()
    machine = behind.machine
    machine.wait_for_goal(name_of(behind.cloud.first))
    wait_until(lambda: machine.show()["status"] == "Connected", "the machine is connected")
    if behind.placed.requests is not None:
        assert any(line.startswith("200 CONNECT ") for line in behind.placed.requests())


def test_check_reaches_everything(behind: Behind) -> None:
    checked = behind.machine.azcmagent("check")
    assert checked.code == 0, checked.text


def test_traffic_arrives_whole(behind: Behind) -> None:
    for _ in range(2):
        got = behind.stage.fetch("/bytes/1000000", "--verbose")
        assert digest(got.body) == digest_of_known_bytes(1_000_000), got.errors
    record = behind.stage.wait_for_record("--event", "end", correlationId=got.correlation_id)
    assert record["authentication"] == behind.placed.authentication


def test_another_gateway_is_picked_up(behind: Behind) -> None:
    behind.stage.associate(behind.cloud.second["id"])
    behind.machine.wait_for_goal(name_of(behind.cloud.second))
    assert behind.stage.fetch("/").status == 200


def test_a_certificate_is_renewed(behind: Behind) -> None:
    file = behind.machine.home / "certs/machine.pem"
    before = file.read_text()
    file.unlink()  # as one that was damaged: himdsd gets another one at its start
    behind.machine.restart_himdsd()
    wait_until(lambda: file.exists() and file.read_text() != before, "there is a new certificate")
    wait_until(lambda: behind.stage.fetch("/").status == 200, "requests pass with it")


def test_no_log_and_no_setting_holds_the_password(behind: Behind) -> None:
    files = [
        *behind.machine.home.glob("log/*"),
        *behind.machine.home.glob("config/*"),
        *behind.stage.net.logs.glob("*"),
    ]
    assert any(file.name == "arcproxy.log" for file in files)
    for file in files:
        assert PASSWORD not in file.read_text(errors="replace"), file


def test_a_wrong_password_is_tried_once_and_a_corrected_one_at_once(behind: Behind) -> None:
    machine, placed = behind.machine, behind.placed
    refused = machine.home / "state/refused-credentials.json"
    assert not refused.exists()  # nothing of the above was taken for a refusal
    if placed.tries is None:
        return
    assert placed.tries() == 0
    credentials = Path(placed.settings["proxy.credentials"])
    right = credentials.read_text()
    try:
        credentials.write_text(right.replace(PASSWORD, "wrong"))
        machine.services["arcproxyd"].kill()  # its channels have passed with the right password
        machine.restart_arc_proxy()
        for _ in range(3):
            assert "502" in behind.stage.fetch("/").errors
        tries = placed.tries()
        assert tries in {1, 2}  # Arc Proxy and himdsd may both begin in the same moment
        checked = machine.azcmagent("check")
        user = right.partition(":")[0]
        assert f"Correct the password of the user '{user}' in {credentials}" in checked.text, checked.text
        assert placed.tries() == tries + 1
        assert "refuses the user" in machine.show()["errorDetails"]
    finally:
        credentials.write_text(right)
    wait_until(lambda: behind.stage.fetch("/").status == 200, "requests pass with the right password")
    assert not refused.exists()
