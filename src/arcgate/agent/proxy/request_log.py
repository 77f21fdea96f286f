"""arcproxy.log: one line for each request."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from arcgate.core.audit import printable
from arcgate.core.routing import Route, Way
from arcgate.net.relay import Ending, Traffic

_log = structlog.get_logger("arcproxy")


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request; its story is told once, when it ends."""

    correlation_id: str
    client: str
    clock: Callable[[], float]
    method: str = ""
    target: str = ""
    route: Route | None = None
    gateway: str = ""
    status: int = 0
    """What the client was answered; 0 when it went before."""
    reason: str = ""
    """How it ended: a refusal's code, or the ending of the tunnel."""
    detail: str = ""
    was_answered_early: bool = False
    """Whether the client got its 200 before the gateway's answer."""
    failed_late: bool = False
    """Whether what the client took for a tunnel never was one."""
    was_handed_over: bool | None = None
    """Whether the tunnel left the channel's TLS; None for what did not go by a channel."""
    user: str = ""
    """Name or number of the client's user, where it was asked for and found; so are the two below."""
    process: int = 0
    executable: str = ""
    traffic: Traffic = field(default_factory=Traffic)
    started: float = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def log_start(self) -> None:
        """Write the debug line of the beginning."""
        log = _log.bind()
        if log.is_enabled_for(logging.DEBUG):  # the facts are not worth gathering for nobody
            log.debug("request begins", **self._facts())

    def log_end(self) -> None:
        """Write the line of the request."""
        # A target's own 404 is its affair; what we refused or lost is the admin's.
        was_refused = self.status == 0 or (self.status >= 400 and self.reason != Ending.COMPLETED)
        traffic = {"bytes_up": self.traffic.up, "bytes_down": self.traffic.down}
        facts = {**self._facts(), "gateway": self.gateway, "status": self.status, "reason": self.reason, **traffic}
        if self.user:
            facts["user"] = self.user
        if self.process:
            facts["process"], facts["executable"] = self.process, self.executable
        if self.was_answered_early:
            facts["answered"] = "early"
        if self.was_handed_over is not None:
            facts["handed_over"] = "yes" if self.was_handed_over else "no"
        if self.detail:
            facts["detail"] = self.detail
        duration = round(max(0.0, self.clock() - self.started), 3)
        write = _log.warning if was_refused or self.failed_late else _log.info
        write("request", **{key: _shown(value) for key, value in facts.items()}, duration=duration)

    def _facts(self) -> dict[str, object]:
        way = self.route.way if self.route is not None else Way.REFUSE
        why = self.route.reason if self.route is not None else ""
        return {
            "correlation_id": self.correlation_id,
            "client": self.client,
            "method": self.method,
            "target": _shown(self.target),
            "way": way,
            "why": why,
        }


def shown_target(target: bytes) -> str:
    """Return a request target as it may be logged: queries hold signatures, and user-info passwords."""
    text = target.decode("ascii", errors="backslashreplace").partition("?")[0].partition("#")[0]
    before, at, host = text.rpartition("@")
    return text if not at else f"{before[: before.find('//') + 2] if '//' in before else ''}***@{host}"


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
