"""One machine's part of a worker: so many tunnels at once, so many set-ups a second, and no other's."""

from arcgate.gateway.machine_limits import FORGET_ABOVE, MachineLimits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_machine_has_so_many_tunnels_at_once_and_another_has_its_own() -> None:
    limits = MachineLimits(2, 1000, Clock())
    assert [limits.begin("one") for _ in range(2)] == ["", ""]
    assert limits.begin("one") == "this machine has 2 tunnels open"
    limits.end("one")
    assert limits.begin("other") == ""
    limits.end("one")
    assert limits.begin("one") == ""


def test_set_ups_pass_at_their_rate_with_a_burst_of_one_second() -> None:
    clock = Clock()
    limits = MachineLimits(1000, 5, clock)

    def passed(count: int) -> int:
        answers = [limits.begin("one") for _ in range(count)]
        for _ in answers:
            limits.end("one")
        return answers.count("")

    assert passed(8) == 5
    clock.now += 0.4
    assert passed(8) == 2
    clock.now += 3600
    assert passed(8) == 5


def test_refusals_say_the_rate() -> None:
    limits = MachineLimits(1000, 1, Clock())
    assert limits.begin("one") == ""
    assert limits.begin("one") == "this machine opens more than 1 tunnels a second"


def test_quiet_machines_are_forgotten_and_those_with_tunnels_never() -> None:
    clock = Clock()
    limits = MachineLimits(1, 1000, clock)
    assert limits.begin("busy") == ""
    for number in range(FORGET_ABOVE):
        limits.begin(f"machine {number}")
        limits.end(f"machine {number}")
    clock.now += 10
    limits.begin("new")
    assert len(limits._uses) == 2
    assert limits.begin("busy") != ""
