"""What himdsd tells others about itself: state/himds.json, written when it changes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from arcgate.agent.http import ServiceRefusal
from arcgate.agent.machine_key import CertificateFacts
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import MACHINE_NOT_FOUND, HimdsState, read_himds_state, write_himds_state
from arcgate.core.errors import ArcgateError

_log = structlog.get_logger(__name__)


class StatusBoard:
    """Collects successes and failures of the loops; the gravest open failure is shown, in this order of loops."""

    ORDER = ("heartbeat", "certificate", "goal", "extensions", "identity")

    def __init__(self, paths: AgentPaths, clock: Callable[[], datetime]) -> None:
        self._paths = paths
        self._clock = clock
        self._failures: dict[str, tuple[str, str, str]] = {}
        # Of the time before a restart only the last heartbeat is of use: failures show up again by themselves.
        last = read_himds_state(paths)
        self._state = HimdsState(last_heartbeat=last.last_heartbeat, server_time_offset=last.server_time_offset)
        self._written: HimdsState | None = None

    @property
    def state(self) -> HimdsState:
        """What was told last."""
        return self._state

    def heartbeat_accepted(self, offset: timedelta) -> None:
        """Note a heartbeat."""
        self._failures.pop("heartbeat", None)
        self._state = replace(
            self._state,
            status="Connected",
            last_heartbeat=stamp(self._clock()),
            server_time_offset=round(offset.total_seconds(), 1),
        )
        self._write()

    def goal_known(self, revision: int) -> None:
        """Note the revision of the goal."""
        self._failures.pop("goal", None)
        self._state = replace(self._state, goal_revision=revision)
        self._write()

    def certificate_known(self, facts: CertificateFacts | None) -> None:
        """Note the stored certificate's end; written with the next news."""
        self._state = replace(self._state, certificate_not_after=stamp(facts.not_after) if facts else "")

    def endpoint_known(self, url: str) -> None:
        """Note where the metadata endpoint listens, empty for nowhere."""
        if url != self._state.metadata_endpoint:
            self._state = replace(self._state, metadata_endpoint=url)
            self._write()

    def has_failed(self, loop: str) -> bool:
        """Say whether a loop's last try failed."""
        return loop in self._failures

    def succeeded(self, loop: str) -> None:
        """Note that a loop's failure is over."""
        if self._failures.pop(loop, None) is not None:
            self._write()

    def failed(self, loop: str, error: Exception) -> None:
        """Note a failure, and log it when it is another one than before."""
        code, details = describe(error)
        known = self._failures.get(loop)
        if known is None or known[:2] != (code, details):
            _log.warning(f"{loop} failed", code=code, cause=details)
            self._failures[loop] = (code, details, stamp(self._clock()))
        if loop == "heartbeat" or code == MACHINE_NOT_FOUND:
            self._state = replace(self._state, status="Disconnected")
        self._write()

    def _write(self) -> None:
        code, details, moment = next(
            (self._failures[loop] for loop in self.ORDER if loop in self._failures), ("", "", "")
        )
        state = replace(self._state, error_code=code, error_details=details, error_timestamp=moment)
        self._state = state
        if state == self._written:
            return
        try:
            write_himds_state(self._paths, state)
            self._written = state
        except OSError as error:
            _log.error("the state can't be written", file=str(self._paths.himds_state), cause=str(error))


def describe(error: Exception) -> tuple[str, str]:
    """Return code and details of a failure, in words for `azcmagent show`."""
    if isinstance(error, ServiceRefusal):
        return error.code, error.sentence
    if isinstance(error, ArcgateError):
        return error.code, " ".join(part for part in (error.sentence, error.cause, error.remedy) if part)
    return type(error).__name__, str(error)


def stamp(moment: datetime) -> str:
    """Return a time as the agent's files hold it: ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
