"""Proxies by a PAC file: its answers for each target, kept for a while, with names looked up on its behalf."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from arcgate.agent.proxy_credentials import ProxyCredentials
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.names import HostName, Target, parse_host
from arcgate.core.urls import Url
from arcgate.net.pac import LARGEST_FILE, MOST_NAMES, PacFile, own_address
from arcgate.net.resolver import Resolver

KEPT = 60.0
"""Seconds that an answer holds."""
MOST_KEPT = 1024
MOST_RUNS = 8
"""Runs of the file for one answer: each may want to know further names."""


@dataclass(slots=True)
class AutomaticProxies:
    """One PAC file at work. `clock` gives seconds that only grow."""

    file: PacFile
    place: Path
    credentials: ProxyCredentials = field(default_factory=ProxyCredentials)
    clock: Callable[[], float] = time.monotonic
    _kept: dict[Target, tuple[float, tuple[Url | None, ...]]] = field(default_factory=dict, repr=False)

    @property
    def stand_in(self) -> Url:
        """What is shown as the proxy while none is chosen yet; it is never dialled."""
        return Url("pac", Target(HostName("proxy.pac"), 0), str(self.place))

    async def choices(self, target: Target, resolver: Resolver) -> tuple[Url | None, ...]:
        """Return the proxies for a target in order, None for a direct connection; raises StateError (PAC_UNUSABLE)."""
        now = self.clock()
        kept = self._kept.get(target)
        if kept is not None and now < kept[0]:
            return kept[1]
        found = tuple(
            None if one is None else self.credentials.complete(one) for one in await self._ask(target, resolver)
        )
        while len(self._kept) >= MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[target] = now + KEPT, found
        return found

    async def _ask(self, target: Target, resolver: Resolver) -> tuple[Url | None, ...]:
        known: dict[str, str | None] = {}
        own = own_address()
        for _ in range(MOST_RUNS):
            answer = await asyncio.to_thread(self.file.find, target, known, own)
            wanted = [name for name in answer.missing if name not in known]
            if not wanted:
                return answer.choices
            if len(known) + len(wanted) > MOST_NAMES:
                break
            for name in wanted:
                known[name] = await _address_of(name, resolver)
        raise StateError(
            "PAC_UNUSABLE",
            "The PAC file of the setting proxy.pac can't be used.",
            cause=f"it wants to know more than {MOST_NAMES} names",
            remedy="Let it decide by names instead of addresses.",
        )


async def _address_of(name: str, resolver: Resolver) -> str | None:
    try:
        host = parse_host(name)
        addresses = await resolver.resolve(host) if isinstance(host, str) else [host]
    except ArcgateError:
        return None
    # PAC's functions know IPv4 alone.
    return next((str(address) for address in addresses if address.version == 4), None)


def load_automatic_proxies(place: Path, credentials: ProxyCredentials) -> AutomaticProxies:
    """Return a file at work; raises StateError (PAC_UNUSABLE)."""
    try:
        with place.open("rb") as file:
            script = file.read(LARGEST_FILE + 1).decode("utf-8", "replace")
    except OSError as error:
        raise StateError(
            "PAC_UNUSABLE",
            f"The PAC file {place} can't be read.",
            cause=error.strerror or "",
            remedy="Correct the setting proxy.pac, and let the agent's services read the file.",
        ) from None
    return AutomaticProxies(PacFile(script), place, credentials)
