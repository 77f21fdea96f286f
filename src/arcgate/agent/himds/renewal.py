"""Renewing the machine's certificate: at half of its life, and kept while that fails."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from arcgate.agent.agent_service import AgentService
from arcgate.agent.errors import AzcmError
from arcgate.agent.machine_key import (
    CertificateFacts,
    MachineKey,
    parse_certificate,
    read_certificate,
    store_certificate,
)
from arcgate.agent.paths import AgentPaths

_log = structlog.get_logger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds until the clock is read again: machines sleep, and clocks are set."""
SPREAD = 0.1
"""Part of the certificate's life after its half over which machines spread their renewals."""


@dataclass(slots=True)
class Renewal:
    """Renews one machine's certificate. `random` returns numbers in [0, 1)."""

    paths: AgentPaths
    key: MachineKey
    random: Callable[[], float]
    _due: tuple[str, datetime] | None = None

    def certificate(self) -> CertificateFacts | None:
        """Return the stored certificate if it can be used with our key."""
        try:
            facts = read_certificate(self.paths)
        except AzcmError as error:
            _log.warning("the stored certificate is damaged and will be fetched again", cause=error.cause)
            return None
        return facts if facts is not None and self.key.matches(facts) else None

    def pause(self, now: datetime) -> float:
        """Return seconds until the renewal is due, at most LONGEST_PAUSE; 0 when it is."""
        facts = self.certificate()
        if facts is None:
            return 0
        left = (self._due_time(facts) - now).total_seconds()
        return min(max(left, 0), LONGEST_PAUSE)

    async def renew(self, service: AgentService) -> None:
        """Get and store a new certificate; raises HopError, ServiceRefusal or AzcmError, and keeps the old one."""
        chain = await service.certificate()
        store_certificate(self.paths, chain)
        facts = parse_certificate(chain)
        _log.info("the machine's certificate was renewed", serial=facts.serial, not_after=facts.not_after.isoformat())

    def _due_time(self, facts: CertificateFacts) -> datetime:
        if self._due is None or self._due[0] != facts.serial:
            spread: timedelta = (facts.not_after - facts.not_before) * SPREAD * self.random()
            self._due = (facts.serial, facts.half_life + spread)
        return self._due[1]
