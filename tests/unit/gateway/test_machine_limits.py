"""One machine's part of a worker: so many tunnels at once, so many set-ups a second, and no other's."""

import pytest

from arcgate.core.daily_bytes import DAY
from arcgate.core.snapshot import GroupLimits
from arcgate.core.verdicts import Reason
from arcgate.gateway.machine_limits import FORGET_ABOVE, MachineLimits, MostOfMachine


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_limits(most: MostOfMachine, clock: Clock | None = None, used_up: list[str] | None = None) -> MachineLimits:
    clock = clock or Clock()
    return MachineLimits(most, clock=clock, today=clock, on_used_up=([] if used_up is None else used_up).append)


def begin(limits: MachineLimits, machine: str = "one") -> str:
    """Begin a tunnel; return why it must not."""
    refusal = limits.begin(machine)
    return refusal.detail if refusal else ""


def test_a_machine_has_so_many_tunnels_at_once_and_another_has_its_own() -> None:
    limits = make_limits(MostOfMachine(2, 1000))
    assert [begin(limits) for _ in range(2)] == ["", ""]
    assert begin(limits) == "this machine has 2 tunnels open"
    limits.end("one")
    assert begin(limits, "other") == ""
    limits.end("one")
    assert begin(limits) == ""


def test_set_ups_pass_at_their_rate_with_a_burst_of_one_second() -> None:
    clock = Clock()
    limits = make_limits(MostOfMachine(1000, 5), clock)

    def passed(count: int) -> int:
        answers = [begin(limits) for _ in range(count)]
        for _ in answers:
            limits.end("one")
        return answers.count("")

    assert passed(8) == 5
    clock.now += 0.41
    assert passed(8) == 2
    clock.now += 3600
    assert passed(8) == 5


def test_refusals_say_the_rate() -> None:
    limits = make_limits(MostOfMachine(1000, 1))
    assert begin(limits) == ""
    assert begin(limits) == "this machine opens more than 1 tunnels a second"


def test_quiet_machines_are_forgotten_and_those_with_tunnels_never() -> None:
    clock = Clock()
    limits = make_limits(MostOfMachine(1, 1000), clock)
    assert begin(limits, "busy") == ""
    for number in range(FORGET_ABOVE):
        begin(limits, f"machine {number}")
        limits.end(f"machine {number}")
    clock.now += 10
    for number in range(FORGET_ABOVE // 10):
        begin(limits, f"new {number}")
    assert len(limits._uses) <= 1 + FORGET_ABOVE // 10
    assert begin(limits, "busy") != ""


def test_where_all_machines_are_busy_a_new_one_does_not_look_through_them_each_time() -> None:
    limits = make_limits(MostOfMachine(1, 1000))
    for number in range(FORGET_ABOVE + 1):
        begin(limits, f"machine {number}")
    assert limits._forget_at > FORGET_ABOVE + 1


def test_without_a_limit_of_bytes_nothing_sees_them() -> None:
    limits = make_limits(MostOfMachine(1, 1000))
    begin(limits)
    assert limits.meter_of("one") is None


def test_the_bytes_of_a_day_are_one_machine_s_and_told_once_when_they_are_used_up() -> None:
    clock, used_up = Clock(), list[str]()
    limits = make_limits(MostOfMachine(10, 1000, daily_bytes=1000), clock, used_up)
    begin(limits)
    begin(limits, "other")
    meter = limits.meter_of("one")
    assert meter is not None
    assert not meter.is_pacing
    meter.spend(999)
    assert (begin(limits), used_up) == ("", [])
    for _ in range(3):
        meter.spend(1)
    assert used_up == ["one"]
    assert begin(limits, "other") == ""
    refusal = limits.begin("one")
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == (Reason.DAY_USED_UP, DAY - 100)
    assert "1000 bytes" in refusal.detail
    clock.now += DAY
    assert begin(limits) == ""


def test_a_quiet_machine_is_remembered_while_it_has_used_some_of_its_day() -> None:
    clock = Clock()
    limits = make_limits(MostOfMachine(1, 1000, daily_bytes=10), clock)
    begin(limits, "used")
    meter = limits.meter_of("used")
    assert meter is not None
    meter.spend(5)
    limits.end("used")
    for number in range(FORGET_ABOVE):
        begin(limits, f"machine {number}")
        limits.end(f"machine {number}")
    clock.now += 10
    for number in range(FORGET_ABOVE // 10):
        begin(limits, f"new {number}")
    assert len(limits._uses) <= 1 + FORGET_ABOVE // 10
    assert limits.meter_of("used") is meter
    clock.now += DAY
    assert not meter.has_used


@pytest.mark.anyio
async def test_a_bandwidth_is_shared_by_the_tunnels_of_a_machine() -> None:
    limits = make_limits(MostOfMachine(10, 1000, bytes_per_second=20_000))
    begin(limits)
    begin(limits, "other")
    meter, others = limits.meter_of("one"), limits.meter_of("other")
    assert meter is not None
    assert others is not None
    assert meter is limits.meter_of("one")
    assert meter.is_pacing
    meter.spend(1_000_000)
    assert not meter.may_carry(lambda: None)
    assert others.may_carry(lambda: None)


def test_the_less_of_a_groups_limit_and_the_nodes_holds() -> None:
    limits = make_limits(MostOfMachine(2, 1000))
    few, many = GroupLimits(tunnels=1), GroupLimits(tunnels=9)
    assert limits.begin("one", few) is None
    refusal = limits.begin("one", few)
    assert refusal is not None
    assert refusal.detail == "this machine has 1 tunnels open"
    limits.end("one")
    assert limits.begin("one", many) is None
    refusal = limits.begin("one", many)
    assert refusal is not None
    assert refusal.detail == "this machine has 2 tunnels open"


def test_a_machine_that_leaves_its_groups_keeps_its_tunnels_and_gets_the_nodes_limits() -> None:
    limits = make_limits(MostOfMachine(3, 1000))
    assert limits.begin("one", GroupLimits(tunnels=1, daily_bytes=100)) is None
    meter = limits.meter_of("one")
    assert meter is not None
    meter.spend(100)
    refusal = limits.begin("one", GroupLimits(daily_bytes=100, tunnels=5))
    assert refusal is None  # other limits begin a new count
    assert limits.begin("one") is None
    assert limits.meter_of("one") is None
    assert begin(limits) == "this machine has 3 tunnels open"
