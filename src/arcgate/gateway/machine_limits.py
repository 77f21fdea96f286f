"""What one machine may have of a node: tunnels open at once, set-ups and bytes per second, and bytes a day.

The workers of a node count together, each in a ledger of its own (`core.machine_use`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from arcgate.core.daily_bytes import DailyBytes, seconds_left
from arcgate.core.machine_use import SECOND, MachineUse
from arcgate.core.shared_bucket import QUIET, SharedBucket
from arcgate.core.snapshot import GroupLimits
from arcgate.core.token_bucket import TokenBucket
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.machine_ledgers import MachineLedgers
from arcgate.gateway.machine_meter import MachineMeter
from arcgate.net.pace import Pace

FORGET_ABOVE = 10_000
"""Machines that are remembered before those that have been quiet are forgotten."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MostOfMachine:
    """What one machine may have of a node; bytes are unlimited where the number is 0."""

    tunnels: int
    set_ups_per_second: int
    bytes_per_second: int = 0
    daily_bytes: int = 0


@dataclass(slots=True)
class _Part:
    """One machine's part, and the most of it."""

    most: MostOfMachine
    use: MachineUse
    meter: MachineMeter | None
    began_at: float = 0
    """When it last began a tunnel."""


class MachineLimits:
    """Counts by machine. `clock` is the system's steady one, `today` gives seconds since 1970.

    Set-ups, or bytes, of one second may come at once, so that short bursts pass. `on_used_up` is called with a
    machine when it has carried its bytes of the day and has tunnels here.
    """

    def __init__(
        self,
        most: MostOfMachine,
        *,
        clock: Callable[[], float],
        today: Callable[[], float],
        on_used_up: Callable[[str], None],
        ledgers: MachineLedgers | None = None,
    ) -> None:
        self._most = most
        self._clock = clock
        self._today = today
        self._on_used_up = on_used_up
        self._ledgers = ledgers or MachineLedgers()
        self._parts: dict[str, _Part] = {}
        self._forget_at = FORGET_ABOVE
        self._is_full = False

    def begin(self, machine: str, limits: GroupLimits | None = None) -> Verdict | None:
        """Count a tunnel that begins; return why it must not, None when it may.

        `limits` are those of the machine's groups; the less of them and the node's own holds.
        Whatever the answer, `end` follows when the tunnel has ended or was refused.
        """
        now = self._clock()
        most = self._most if limits is None else _least(self._most, limits)
        part = self._parts.get(machine) or self._make_part(machine, most, now)
        if part.most != most:
            part.most, part.meter = most, self._make_meter(machine, most, part.use)
        part.began_at = now
        ticks = int(now * SECOND)
        if not part.use.take_place(ticks, self._today()):
            self._say_full()
        return self._refusal_of(part, ticks)

    def _refusal_of(self, part: _Part, now: int) -> Verdict | None:
        most = part.most
        if not part.use.open_tunnel(most.tunnels):
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine has {most.tunnels} tunnels open")
        if part.meter is not None and part.meter.is_used_up:
            detail = f"this machine has carried {most.daily_bytes} bytes today"
            return Verdict(Reason.DAY_USED_UP, detail=detail, retry_after=seconds_left(self._today()))
        if not part.use.take_set_up(most.set_ups_per_second, now):
            rate = most.set_ups_per_second
            return Verdict(Reason.LIMIT_REACHED, detail=f"this machine opens more than {rate} tunnels a second")
        return None

    def end(self, machine: str) -> None:
        """Take note that a tunnel that was counted is no more."""
        self._parts[machine].use.close_tunnel()

    def meter_of(self, machine: str) -> MachineMeter | None:
        """Return what sees the bytes of a machine whose tunnel has begun, None while they are unlimited."""
        return self._parts[machine].meter

    def tell_used_up(self) -> None:
        """Tell of machines whose day another worker has used up, so that their idle tunnels end here as well."""
        for machine, part in list(self._parts.items()):
            if part.meter is not None and part.use.own_tunnels and part.meter.is_used_up:
                self._on_used_up(machine)

    def _make_part(self, machine: str, most: MostOfMachine, now: float) -> _Part:
        self._forget_quiet(now)
        use = MachineUse(machine, self._ledgers.own, self._ledgers.others)
        part = _Part(most, use, self._make_meter(machine, most, use))
        self._parts[machine] = part
        return part

    def _make_meter(self, machine: str, most: MostOfMachine, use: MachineUse) -> MachineMeter | None:
        rate, quota = most.bytes_per_second, most.daily_bytes
        if not rate and not quota:
            return None
        return MachineMeter(
            self._make_pace(rate, use) if rate else None,
            DailyBytes(quota, use) if quota else None,
            self._today,
            lambda: self._on_used_up(machine),
        )

    def _make_pace(self, rate: int, use: MachineUse) -> Pace:
        loop = asyncio.get_running_loop()
        workers = 1 + len(self._ledgers.others)
        bucket = TokenBucket(rate, rate, rate, loop.time())
        if workers > 1:
            bucket = SharedBucket(rate, workers, loop.time(), lambda: self._count_busy(use))
        return Pace(bucket, loop.time, loop.call_later)

    def _count_busy(self, use: MachineUse) -> int:
        return use.count_busy(int(self._clock() * SECOND), int(QUIET * SECOND))

    def _say_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            _log.warning("too many machines for the ledger: the limits of some hold in this worker by itself")

    def _forget_quiet(self, now: float) -> None:
        if len(self._parts) < self._forget_at:
            return
        self._parts = {
            name: part for name, part in self._parts.items() if part.use.own_tunnels or now - part.began_at < 1
        }
        # Where that many are busy, not every new one is worth a look at all of them.
        self._forget_at = max(FORGET_ABOVE, len(self._parts) + FORGET_ABOVE // 10)


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
