"""Strangers: connections that have not shown a machine's certificate, or asked for anything, yet. So many may wait."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

import structlog

SILENCE = 10.0
"""Seconds before it is said again that connections are shed, and how many that were."""
_HOST_BITS = 64
"""Prefix of IPv6 addresses that one host may have all of."""

_log = structlog.get_logger(__name__)


class Strangers:
    """Places for strangers, at most `most` in all and `most_of_address` from one source address.

    Many machines may stand behind one address: those that are known hold no place. `clock` is a steady one.
    """

    def __init__(self, most: int, most_of_address: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._waiting = 0
        self._by_source: dict[str, int] = {}
        self._all_shed = _Shed("connections shed, too many strangers have not asked for anything yet", most, clock)
        self._source_shed = _Shed(
            "connections shed, too many from one address have not asked for anything yet", most_of_address, clock
        )

    def enter(self, address: str) -> Callable[[], None] | None:
        """Take a place; return what gives it back, once or more often, or None when there is none.

        An empty address is that of a peer on this host, and one of nobody's in particular.
        """
        if self._waiting >= self._most:
            self._all_shed.count()
            return None
        source = source_of(address)
        if source and self._by_source.get(source, 0) >= self._most_of_address:
            self._source_shed.count(address=source)
            return None
        self._waiting += 1
        self._by_source[source] = self._by_source.get(source, 0) + 1
        has_left = False

        def leave() -> None:
            nonlocal has_left
            if not has_left:
                has_left = True
                self._leave(source)

        return leave

    def _leave(self, source: str) -> None:
        self._waiting -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


class _Shed:
    """Connections that were closed unheard, said now and then: a storm would be written down as one."""

    def __init__(self, event: str, limit: int, clock: Callable[[], float]) -> None:
        self._event = event
        self._limit = limit
        self._clock = clock
        self._count = 0
        self._said_at = -SILENCE

    def count(self, **more: str) -> None:
        """Count one, and say it if it is time to."""
        self._count += 1
        now = self._clock()
        if now >= self._said_at + SILENCE:
            self._said_at = now
            _log.warning(self._event, limit=self._limit, shed=self._count, **more)


@lru_cache(maxsize=4096)  # a storm comes from few
def source_of(address: str) -> str:
    """Return what stands for the host behind an address: of IPv6 its /64, which a host may use all of."""
    if ":" not in address:
        return address
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_network(f"{str(ip).partition('%')[0]}/{_HOST_BITS}", strict=False))
