"""What one machine's tunnels carry together: at a pace, and so many bytes a day."""

from collections.abc import Callable

from arcgate.core.daily_bytes import DailyBytes
from arcgate.net.pace import Pace, Resume


class MachineMeter:
    """A Meter of all tunnels of a machine. `today` gives seconds since 1970; `on_used_up` is called once a day."""

    def __init__(
        self, pace: Pace | None, daily: DailyBytes | None, today: Callable[[], float], on_used_up: Callable[[], None]
    ) -> None:
        self._pace = pace
        self._daily = daily
        self._today = today
        self._on_used_up = on_used_up

    @property
    def is_pacing(self) -> bool:
        """See Meter."""
        return self._pace is not None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left for today."""
        return self._daily is not None and self._daily.is_used_up(self._today())

    def may_carry(self, resume: Resume) -> bool:
        """See Meter."""
        return self._pace is None or self._pace.may_carry(resume)

    def spend(self, size: int) -> None:
        """See Meter."""
        if self._pace is not None:
            self._pace.spend(size)
        if self._daily is not None and self._daily.spend(size, self._today()):
            self._on_used_up()
