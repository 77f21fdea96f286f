"""One machine's part of a worker: so many tunnels at once, so many set-ups a second, and no other's."""

import pytest
from structlog.testing import capture_logs

from arcgate.core.daily_bytes import DAY
from arcgate.core.ledger import Ledger
from arcgate.core.snapshot import GroupLimits
from arcgate.core.verdicts import Reason
from arcgate.gateway.machine_ledgers import MachineLedgers
from arcgate.gateway.machine_limits import FORGET_ABOVE, MachineLimits, MostOfMachine
from worlds.ledgers import lone_ledger, workers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_limits(
    most: MostOfMachine,
    clock: Clock | None = None,
    used_up: list[str] | None = None,
    ledgers: MachineLedgers | None = None,
) -> MachineLimits:
    clock, told = clock or Clock(), [] if used_up is None else used_up
    return MachineLimits(most, clock=clock, today=clock, on_used_up=told.append, ledgers=ledgers)


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
    assert len(limits._parts) <= 1 + FORGET_ABOVE // 10
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


def test_what_a_machine_has_carried_today_is_known_even_when_it_was_quiet_and_forgotten() -> None:
    clock = Clock()
    limits = make_limits(MostOfMachine(1, 1000, daily_bytes=10), clock)
    begin(limits, "used")
    meter = limits.meter_of("used")
    assert meter is not None
    meter.spend(10)
    limits.end("used")
    for number in range(FORGET_ABOVE):
        begin(limits, f"machine {number}")
        limits.end(f"machine {number}")
    clock.now += 10
    for number in range(FORGET_ABOVE // 10):
        begin(limits, f"new {number}")
    assert "used" not in limits._parts
    assert begin(limits, "used") == "this machine has carried 10 bytes today"
    clock.now += DAY
    limits.end("used")
    assert begin(limits, "used") == ""


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
    assert refusal is not None
    assert refusal.reason is Reason.DAY_USED_UP  # other limits begin no new count
    assert limits.begin("one") is None
    assert limits.meter_of("one") is None
    assert begin(limits) == "this machine has 3 tunnels open"


def test_a_machine_may_have_so_much_of_a_node_whichever_workers_it_meets() -> None:
    clock = Clock()
    most = MostOfMachine(tunnels=3, set_ups_per_second=4)
    first, second = (make_limits(most, clock, ledgers=one) for one in workers(2))
    assert [begin(first), begin(second), begin(first)] == ["", "", ""]
    for limits in (second, first):
        assert begin(limits) == "this machine has 3 tunnels open"
        limits.end("one")
    second.end("one")
    assert begin(first) == ""
    first.end("one")
    assert begin(second) == "this machine opens more than 4 tunnels a second"


def test_idle_tunnels_of_a_machine_whose_day_another_worker_has_used_up_are_told_of() -> None:
    clock, told, others = Clock(), list[str](), list[str]()
    ledgers = workers(2)
    most = MostOfMachine(10, 1000, daily_bytes=10)
    first, second = make_limits(most, clock, told, ledgers[0]), make_limits(most, clock, others, ledgers[1])
    for machine in ("one", "other", "gone"):
        begin(first, machine)
        begin(second, machine)
    first.end("gone")
    for machine in ("one", "gone"):
        meter = second.meter_of(machine)
        assert meter is not None
        meter.spend(10)
    assert (told, others) == ([], ["one", "gone"])
    first.tell_used_up()
    assert told == ["one"]


@pytest.mark.anyio
async def test_workers_share_a_bandwidth_without_a_burst_for_each() -> None:
    ledgers = workers(4)
    carried = 0
    for one in ledgers:
        limits = make_limits(MostOfMachine(10, 1000, bytes_per_second=1_000_000), ledgers=one)
        begin(limits)
        meter = limits.meter_of("one")
        assert meter is not None
        while meter.may_carry(lambda: None):
            meter.spend(10_000)
            carried += 10_000
    # Four parts of the burst; what comes in meanwhile, and one piece each.
    assert carried < 2_000_000


class FullLedger(Ledger):
    def claim(self, key: int, now: int, day: int) -> int:
        return 0


def test_machines_beyond_the_ledgers_places_are_limited_in_their_worker_and_that_is_said_once() -> None:
    full = FullLedger(lone_ledger().words)
    limits = make_limits(MostOfMachine(1, 1000), ledgers=MachineLedgers(full, (lone_ledger(),)))
    with capture_logs() as logs:
        assert [begin(limits), begin(limits, "other")] == ["", ""]
        assert begin(limits) == "this machine has 1 tunnels open"
    assert len(logs) == 1
