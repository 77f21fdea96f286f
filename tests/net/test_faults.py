"""Deaths of servers while traffic runs: the agent and the gateway recover by themselves."""

from collections.abc import Iterator

import pytest

from worlds.network_stage import Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def apart() -> Iterator[Stage]:
    with stage(apart=True) as built:
        yield built.onboard(built.create_gateway("edge"))


def test_a_gateway_killed_in_the_middle_of_a_transfer_is_back_in_use_after_its_restart(apart: Stage) -> None:
    download = apart.fetch_slowly(100_000)
    apart.gateway.service.kill()
    assert apart.ended(download) != 0
    assert apart.fetch("/").code != 0
    apart.gateway.restart()
    wait_until(lambda: apart.fetch("/").status == 200, "requests pass again, with nothing done on the machine")
    # The tunnel that died with the gateway has its end record all the same.
    apart.wait_for_record("--event", "end", reason="node_lost")


def test_traffic_is_unhurt_by_the_death_of_the_control_plane(apart: Stage) -> None:
    download = apart.fetch_slowly(150)
    apart.control.service.kill()
    assert apart.fetch("/").status == 200
    assert apart.ended(download) == 0
    # Neither the gateway nor Arc Proxy needs the control plane to begin anew.
    apart.gateway.service.kill()
    apart.gateway.restart()
    apart.machine.restart_arc_proxy()
    wait_until(lambda: apart.fetch("/").status == 200, "requests pass without the control plane")
    alone = apart.fetch("/", "--verbose")
    apart.control.restart()
    apart.wait_for_record("--event", "end", correlationId=alone.correlation_id, reason="completed")


def test_news_arrive_after_the_restart_of_the_control_plane(apart: Stage) -> None:
    apart.control.service.kill()
    apart.control.restart()
    second = apart.create_gateway("second")
    apart.associate(second["id"])
    apart.machine.wait_for_goal(second["properties"]["gatewayEndpoint"])
    assert apart.fetch("/").status == 200
