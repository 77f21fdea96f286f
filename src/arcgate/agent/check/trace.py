"""What a check has found of one endpoint so far: its hops, each with its time."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arcgate.agent.check.model import HopResult, Outcome
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address

_TOLD_TOGETHER = frozenset({Hop.PROXY, Hop.GATEWAY, Hop.POLICY})


@dataclass
class Trace:
    """What has been found so far."""

    hops: list[HopResult] = field(default_factory=list)
    at: Hop = Hop.DNS
    began: float = field(default_factory=time.monotonic)
    addresses: list[Address] = field(default_factory=list)
    tls: str = ""
    inspected_by: str = ""
    proxy: str = ""
    """The enterprise proxy on the way: the first one that a PAC file names for it."""

    @asynccontextmanager
    async def hop(self, hop: Hop) -> AsyncIterator[None]:
        """Time one hop; a HopError is its failure, or that of the hop that it names."""
        self.at, self.began = hop, time.monotonic()
        try:
            yield
        except HopError as error:
            self._fail(error)
            raise
        self.hops.append(HopResult(hop, Outcome.PASSED, time.monotonic() - self.began))

    def add(self, outcome: Outcome, *hops: Hop) -> None:
        """Note hops that took no time of their own."""
        self.hops += [HopResult(one, outcome, 0) for one in hops]

    def fail(self, error: HopError) -> None:
        """Note a failure that no hop has noted yet."""
        if not self.hops or self.hops[-1].failure is not error:
            self._fail(error)

    def _fail(self, error: HopError) -> None:
        order = list(Hop)
        for between in order[order.index(self.at) : order.index(error.hop)]:
            # CONNECT's answer tells of several hops at once: those before the one that it blames have passed.
            if between in _TOLD_TOGETHER:
                self.add(Outcome.PASSED, between)
        self.hops.append(HopResult(error.hop, Outcome.FAILED, time.monotonic() - self.began, error))
