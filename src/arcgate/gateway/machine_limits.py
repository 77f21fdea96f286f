"""What one machine may have of a worker: tunnels open at once, set-ups and bytes per second, and bytes a day."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from arcgate.core.daily_bytes import DailyBytes, seconds_left
from arcgate.core.snapshot import GroupLimits
from arcgate.core.token_bucket import TokenBucket
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.machine_meter import MachineMeter
from arcgate.net.pace import Pace

FORGET_ABOVE = 10_000
"""Machines that are remembered before those that have been quiet are forgotten."""


@dataclass(frozen=True, slots=True)
class MostOfMachine:
    """What one machine may have of a worker; bytes are unlimited where the number is 0."""

    tunnels: int
    set_ups_per_second: int
    bytes_per_second: int = 0
    daily_bytes: int = 0


@dataclass(slots=True)
class _Use:
    """One machine's part, and the most of it."""

    most: MostOfMachine
    tunnels: int
    set_ups: TokenBucket
    meter: MachineMeter | None


class MachineLimits:
    """Counts by machine. `clock` is a steady one, `today` gives seconds since 1970.

    A bucket holds the set-ups, or bytes, of one second, so that short bursts pass. `on_used_up` is called with a
    machine when it has carried its bytes of the day.
    """

    def __init__(
        self,
        most: MostOfMachine,
        *,
        clock: Callable[[], float],
        today: Callable[[], float],
        on_used_up: Callable[[str], None],
    ) -> None:
        self._most = most
        self._clock = clock
        self._today = today
        self._on_used_up = on_used_up
        self._uses: dict[str, _Use] = {}
        self._forget_at = FORGET_ABOVE

    def begin(self, machine: str, limits: GroupLimits | None = None) -> Verdict | None:
        """Count a tunnel that begins; return why it must not, None when it may.

        `limits` are those of the machine's groups; the less of them and the node's own holds.
        Whatever the answer, `end` follows when the tunnel has ended or was refused.
        """
        now = self._clock()
        most = self._most if limits is None else _least(self._most, limits)
        use = self._uses.get(machine) or self._make_use(machine, most, now)
        if use.most != most:
            self._change(use, machine, most, now)
        use.tunnels += 1
        if use.tunnels > most.tunnels:
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine has {most.tunnels} tunnels open")
        if use.set_ups.fill(now) < 1:
            rate = most.set_ups_per_second
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine opens more than {rate} tunnels a second")
        if use.meter is not None and use.meter.is_used_up:
            detail = f"this machine has carried {most.daily_bytes} bytes today"
            return Verdict(Reason.DAY_USED_UP, detail=detail, retry_after=seconds_left(self._today()))
        use.set_ups.take(1, now)
        return None

    def end(self, machine: str) -> None:
        """Take note that a tunnel that was counted is no more."""
        self._uses[machine].tunnels -= 1

    def meter_of(self, machine: str) -> MachineMeter | None:
        """Return what sees the bytes of a machine whose tunnel has begun, None while they are unlimited."""
        return self._uses[machine].meter

    def _make_use(self, machine: str, most: MostOfMachine, now: float) -> _Use:
        self._forget_quiet(now)
        rate = most.set_ups_per_second
        use = _Use(most, 0, TokenBucket(rate, rate, rate, now), self._make_meter(machine, most))
        self._uses[machine] = use
        return use

    def _change(self, use: _Use, machine: str, most: MostOfMachine, now: float) -> None:
        """Let other numbers hold from now on; what was carried today counts for the old ones alone."""
        fresh = self._make_use(machine, most, now)
        use.most, use.set_ups, use.meter = most, fresh.set_ups, fresh.meter
        self._uses[machine] = use

    def _make_meter(self, machine: str, most: MostOfMachine) -> MachineMeter | None:
        rate, quota = most.bytes_per_second, most.daily_bytes
        if not rate and not quota:
            return None
        return MachineMeter(
            self._make_pace(rate) if rate else None,
            DailyBytes(quota) if quota else None,
            self._today,
            lambda: self._on_used_up(machine),
        )

    def _make_pace(self, rate: int) -> Pace:
        loop = asyncio.get_running_loop()
        return Pace(TokenBucket(rate, rate, rate, loop.time()), loop.time, loop.call_later)

    def _forget_quiet(self, now: float) -> None:
        if len(self._uses) < self._forget_at:
            return
        self._uses = {
            name: use
            for name, use in self._uses.items()
            if use.tunnels or now - use.set_ups.at < 1 or (use.meter is not None and use.meter.has_used)
        }
        # Where that many are busy, not every new one is worth a look at all of them.
        self._forget_at = max(FORGET_ABOVE, len(self._uses) + FORGET_ABOVE // 10)


def _least(most: MostOfMachine, limits: GroupLimits) -> MostOfMachine:
    """Return the less of each kind; 0 says nothing."""
    return MostOfMachine(
        *(
            min((number for number in numbers if number), default=0)
            for numbers in zip(
                (most.tunnels, most.set_ups_per_second, most.bytes_per_second, most.daily_bytes),
                (limits.tunnels, limits.set_ups_per_second, limits.bytes_per_second, limits.daily_bytes),
                strict=True,
            )
        )
    )
