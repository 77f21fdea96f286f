"""What one machine may have of a worker: tunnels open at once, set-ups and bytes per second, and bytes a day."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from arcgate.core.daily_bytes import DailyBytes, seconds_left
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
    """One machine's part."""

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

    def begin(self, machine: str) -> Verdict | None:
        """Count a tunnel that begins; return why it must not, None when it may.

        Whatever the answer, `end` follows when the tunnel has ended or was refused.
        """
        now = self._clock()
        use = self._uses.get(machine) or self._make_use(machine, now)
        use.tunnels += 1
        if use.tunnels > self._most.tunnels:
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine has {self._most.tunnels} tunnels open")
        if use.set_ups.fill(now) < 1:
            rate = self._most.set_ups_per_second
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine opens more than {rate} tunnels a second")
        if use.meter is not None and use.meter.is_used_up:
            detail = f"this machine has carried {self._most.daily_bytes} bytes today"
            return Verdict(Reason.DAY_USED_UP, detail=detail, retry_after=seconds_left(self._today()))
        use.set_ups.take(1, now)
        return None

    def end(self, machine: str) -> None:
        """Take note that a tunnel that was counted is no more."""
        self._uses[machine].tunnels -= 1

    def meter_of(self, machine: str) -> MachineMeter | None:
        """Return what sees the bytes of a machine whose tunnel has begun, None while they are unlimited."""
        return self._uses[machine].meter

    def _make_use(self, machine: str, now: float) -> _Use:
        self._forget_quiet(now)
        rate = self._most.set_ups_per_second
        use = self._uses[machine] = _Use(0, TokenBucket(rate, rate, rate, now), self._make_meter(machine))
        return use

    def _make_meter(self, machine: str) -> MachineMeter | None:
        rate, quota = self._most.bytes_per_second, self._most.daily_bytes
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
