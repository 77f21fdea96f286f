"""Onboarding reports (PUT /log): whatever a script could say before it failed, as one line of our log."""

from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse

from arcgate.control.bodies import read_body
from arcgate.control.clock import Clock
from arcgate.control.failures import ApiError
from arcgate.core.audit import printable

LARGEST_REPORT = 64 * 1024
"""Bytes of a report that are accepted."""
LONGEST_LINE = 2000
"""Characters of a report that are logged."""
REPORTS_AT_ONCE = 50
REPORTS_A_SECOND = 2.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Allowance:
    """A bucket of tokens: so many at once, so many more each second."""

    most: float
    each_second: float
    left: float
    filled_at: float = 0.0

    def take(self, moment: float) -> bool:
        """Take one token if there is one; `moment` is in seconds."""
        if self.filled_at:
            self.left = min(self.most, self.left + max(0.0, moment - self.filled_at) * self.each_second)
        self.filled_at = moment
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Reports:
    """Takes reports from anybody; all of them share one allowance, since nobody has to say who they are."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowance = Allowance(REPORTS_AT_ONCE, REPORTS_A_SECOND, REPORTS_AT_ONCE)

    async def take(self, request: Request) -> JSONResponse:
        """Log the report and say 200, whatever bytes it is made of; raises ApiError 413 or 429."""
        if not self._allowance.take(self._clock().timestamp()):
            raise ApiError(429, "TooManyRequests", "There are too many reports.", headers={"Retry-After": "60"})
        body = await read_body(request, LARGEST_REPORT)
        text = " ".join(body.decode("utf-8", errors="replace").split())
        _log.warning("onboarding report", report=printable(text, LONGEST_LINE), bytes=len(body))
        return JSONResponse({})
