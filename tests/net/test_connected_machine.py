"""A connected machine behind Squid: its association, its open tunnels and its uploads."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worlds.network_processes import wait_until
from worlds.network_services import digest
from worlds.network_stage import ALLOWED_TARGETS, MACHINE, Stage, stage

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def connected() -> Iterator[Stage]:
    with stage() as built:
        yield built.onboard(built.create_gateway("first"))


def test_an_upload_arrives_whole_and_its_bytes_are_in_the_audit_row(connected: Stage, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"0123456789abcdef" * 250_000)
    position = len(connected.target.connections)
    sent = connected.fetch("/upload", "--upload-file", str(file))
    assert digest(file.read_bytes()) in sent.body.decode()
    counted = connected.target.ended_connection(position)
    connected.wait_for_record("--event", "end", bytesUp=counted["received"], bytesDown=counted["sent"])


def test_an_open_tunnel_is_listed_until_it_has_ended(connected: Stage) -> None:
    def open_tunnels() -> list[tuple[str, str]]:
        # The agent's own tunnel to the control plane is always there as well.
        found = connected.operator.records("--open", "--target", ALLOWED_TARGETS[0])
        return [(one["machine"].rpartition("/")[2], one["target"]) for one in found]

    assert open_tunnels() == []
    download = connected.fetch_slowly(100_000)
    wait_until(lambda: open_tunnels() == [(MACHINE, f"{ALLOWED_TARGETS[0]}:443")], "the tunnel is listed")
    download.kill()
    wait_until(lambda: open_tunnels() == [], "no tunnel is listed any more")


def test_the_machines_own_log_tells_the_route_of_each_request(connected: Stage) -> None:
    connected.fetch("/", target=ALLOWED_TARGETS[1])
    record = connected.wait_for_record("--target", ALLOWED_TARGETS[1], event="end")

    def lines_of_it() -> list[str]:
        return [line for line in connected.machine.proxy_log.splitlines() if record["correlationId"] in line]

    wait_until(lines_of_it, "the request's correlation id is in the log")
    assert all(ALLOWED_TARGETS[1] in line and "gateway" in line for line in lines_of_it())


def test_another_association_is_picked_up_by_the_agent_itself(
    connected: Stage, measured: Callable[[str, float], None]
) -> None:
    second = connected.create_gateway("second")
    begin = time.monotonic()
    connected.associate(second["id"])
    connected.machine.wait_for_goal(second["properties"]["gatewayEndpoint"])
    measured("'arcgate setting update' typed, the new gateway in force on the machine after", time.monotonic() - begin)
    assert connected.fetch("/").status == 200
    record = connected.wait_for_record("--event", "start", gateway=second["id"])
    assert record["target"] == f"{ALLOWED_TARGETS[0]}:443"


def test_a_change_of_association_cuts_what_runs_through_the_former_gateway(connected: Stage) -> None:
    third = connected.create_gateway("third")
    download = connected.fetch_slowly(100_000)
    connected.associate(third["id"])
    assert connected.ended(download) != 0
    connected.wait_for_record("--event", "end", reason="association_removed")
    connected.machine.wait_for_goal(third["properties"]["gatewayEndpoint"])
    assert connected.fetch("/").status == 200


def test_disconnecting_removes_the_machine_and_its_rights(connected: Stage) -> None:
    machine = connected.machine
    gateway = connected.operator.ask("gateway", "create", "--name", "last", "--resource-group", "servers")
    connected.associate(gateway["id"])
    machine.wait_for_goal(gateway["properties"]["gatewayEndpoint"])
    connected.disconnect().succeeded()
    assert connected.operator.ask("machine", "list") == []
    assert not (machine.home / "certs/machine.key").exists()
    wait_until(lambda: connected.fetch("/").code != 0, "no request passes any more")
