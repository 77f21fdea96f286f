"""Which of several DNS servers to ask first: in the order that was set, but those that failed of late come last."""

from collections.abc import Sequence

NameServer = tuple[str, int]
"""Address and port."""

PASSED_OVER = 30.0
"""Seconds that a server comes last after it was slower than another one, or failed where that one answered."""

LONGEST_PASSED_OVER = 300.0
"""Seconds that it comes last when that has happened again and again."""

MOST_REMEMBERED = 64
"""Servers that are remembered for having failed; a host has few, but they change."""


class NameServers:
    """Remembers how servers did. Times are in seconds of any steady clock."""

    def __init__(self) -> None:
        self._passed_over: dict[NameServer, tuple[float, float]] = {}
        """Until when a server comes last, and for how long that was."""

    def order(self, servers: Sequence[NameServer], now: float) -> list[NameServer]:
        """Return the servers in the order to ask them in."""
        return sorted(servers, key=lambda one: self._until(one) if self._until(one) > now else 0)

    def answered(self, server: NameServer) -> None:
        """Take note that a server answered, before all others that were asked."""
        self._passed_over.pop(server, None)

    def lost(self, server: NameServer, now: float) -> bool:
        """Take note that another server was better; say whether that is news."""
        until, length = self._passed_over.get(server, (0.0, 0.0))
        if until > now:
            return False
        length = min(max(PASSED_OVER, length * 2), LONGEST_PASSED_OVER)
        self._passed_over[server] = now + length, length
        if len(self._passed_over) > MOST_REMEMBERED:
            del self._passed_over[next(iter(self._passed_over))]
        return True

    def _until(self, server: NameServer) -> float:
        return self._passed_over.get(server, (0.0, 0.0))[0]
