"""Names and rules of incoming connections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.incoming import WAITING, IncomingRules, home_of, machine_of, machine_target
from arcgate.core.names import HostName, Target, parse_target
from arcgate.core.verdicts import Reason

MACHINE = "0a1b2c3d-0000-4000-8000-00000000000f"


def test_a_machine_s_target_names_machine_and_port_and_is_a_well_formed_one() -> None:
    target = machine_target(MACHINE, 22)
    assert parse_target(target.authority) == target
    assert (machine_of(target), target.port) == (MACHINE, 22)


@pytest.mark.parametrize(
    "host",
    [
        "machine.arcgate.invalid",
        f"{MACHINE}.machine.arcgate.invalid.example",
        f"x.{MACHINE}.machine.arcgate.invalid",
        f"{MACHINE}x.machine.arcgate.invalid",
        MACHINE,
    ],
)
def test_no_other_name_stands_for_a_machine(host: str) -> None:
    assert machine_of(Target(HostName(host), 22)) is None


def test_waiting_is_no_machine() -> None:
    assert machine_of(WAITING) is None


def test_by_default_no_port_is_open() -> None:
    rules = IncomingRules.of({})
    assert not rules.wants_any
    assert rules.refusal_of(22) is Reason.INCOMING_PORT_NOT_ALLOWED


def test_a_port_that_the_settings_name_is_open_and_no_other() -> None:
    rules = IncomingRules.of({"incomingconnections.ports": ["22", "6516"]})
    assert rules.wants_any
    assert [rules.refusal_of(port) for port in (22, 6516)] == [None, None]
    assert rules.refusal_of(23) is Reason.INCOMING_PORT_NOT_ALLOWED


@pytest.mark.parametrize("settings", [{"incomingconnections.enabled": False}, {"config.mode": "monitor"}])
def test_switched_off_or_in_monitor_mode_nothing_is_open(settings: dict[str, object]) -> None:
    rules = IncomingRules.of({"incomingconnections.ports": ["22"], **settings})
    assert not rules.wants_any
    assert rules.refusal_of(22) is Reason.INCOMING_NOT_ENABLED


def test_the_agent_s_own_ports_are_never_open() -> None:
    rules = IncomingRules.of({"incomingconnections.ports": ["40343", "22"]}, {40342, 40343})
    assert rules.ports == {22}


@given(st.uuids(), st.integers(1, 256))
def test_a_machine_has_one_home_among_the_workers(machine: object, workers: int) -> None:
    home = home_of(str(machine), workers)
    assert 0 <= home < workers
    assert home == home_of(str(machine), workers)


def test_homes_are_spread_over_the_workers() -> None:
    homes = [home_of(f"{number:08x}-0000-4000-8000-000000000000", 2) for number in range(200)]
    assert 60 < sum(homes) < 140
