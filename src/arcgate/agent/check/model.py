"""What a check found: hops, rows and the report, as text and as JSON. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from arcgate.core.audit import printable
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target
from arcgate.core.routing import Way

COLUMNS = ("ENDPOINT", "REACHABLE", "PRIVATE", "TLS", "PROXY", "GATEWAY", "TIME")
NETWORK_ERROR = 26
"""Exit code when something can't be reached."""
ARC_PROXY_NOT_RUNNING = 4
"""Exit code when everything can be reached, but not by other programs: Arc Proxy, which they use, is down."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place that the agent needs, and what for."""

    target: Target
    use: str
    uses_tls: bool = True
    is_gateway: bool = False
    """The gateway itself: it is spoken to, nothing behind it."""
    may_be_private: bool = False
    """Whether networks may have a private endpoint of it."""

    @property
    def name(self) -> str:
        """The endpoint as people write it: without the usual port."""
        return self.target.authority.removesuffix(":443")


class Outcome(StrEnum):
    """How a hop went."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "not tried"


@dataclass(frozen=True, slots=True)
class HopResult:
    """One hop of the way to an endpoint; `seconds` is the time that it took."""

    hop: Hop
    outcome: Outcome
    seconds: float
    failure: HopError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the hop with its failure, if any."""
        found: dict[str, Any] = {"hop": self.hop, "outcome": self.outcome, "seconds": round(self.seconds, 3)}
        if self.failure is not None:
            found["code"] = self.failure.code
            found["message"] = printable(self.failure.sentence)
            found["cause"] = printable(self.failure.cause)
            found["remedy"] = printable(self.failure.remedy, 600)
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """All that is known of the way to one endpoint."""

    endpoint: Endpoint
    way: Way
    reason: str
    hops: tuple[HopResult, ...]
    is_private: bool | None = None
    """Whether the endpoint's address is private; None where somebody else resolves it."""
    tls: str = ""
    """Version of the endpoint's own TLS."""
    proxy: str = ""
    """The enterprise proxy on the way, without its password."""
    gateway: str = ""
    """The gateway on the way."""
    inspected_by: str = ""
    """Whose certificate came in place of the gateway's or endpoint's own, where an admin trusts that."""

    @property
    def failure(self) -> HopError | None:
        """What broke, None when the endpoint was reached."""
        return next((one.failure for one in self.hops if one.failure is not None), None)

    @property
    def is_reachable(self) -> bool | None:
        """Whether every hop passed; None when nothing failed but not all could be tried."""
        if not self.hops or self.failure is not None:
            return False
        return None if any(one.outcome is Outcome.SKIPPED for one in self.hops) else True

    @property
    def seconds(self) -> float:
        """Time of all hops."""
        return sum(one.seconds for one in self.hops)

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts, one for each of COLUMNS."""
        private = {None: "unknown", True: "yes", False: "no"}[self.is_private]
        return (
            self.endpoint.name,
            {None: "unknown", True: "true", False: "false"}[self.is_reachable],
            private,
            self._tls_cell(),
            "set" if self.proxy else "not set",
            "used" if self.gateway else "not used",
            f"{self.seconds * 1000:.0f} ms",
        )

    def _tls_cell(self) -> str:
        tls = self.tls or ("unknown" if self.endpoint.uses_tls else "none")
        return f"{tls}, inspected by {printable(self.inspected_by, 60)}" if self.inspected_by else tls

    def explanation(self) -> str:
        """Return which hop broke, why, and what to do; empty for a good row."""
        if (error := self.failure) is None:
            return ""
        parts = [f"{self.endpoint.name} ({self.endpoint.use}): {error.hop}: {error.sentence}"]
        if error.cause:
            parts.append(f"Cause: {error.cause}.")
        if error.remedy:
            parts.append(f"What to do: {error.remedy}")
        return printable(" ".join(parts).replace("..", "."), 1200)

    def to_json(self) -> dict[str, Any]:
        """Return the row with its hops."""
        error = self.failure
        return {
            "endpoint": self.endpoint.target.authority,
            "use": self.endpoint.use,
            "reachable": self.is_reachable,
            "private": self.is_private,
            "tls": self.tls,
            "proxy": self.proxy,
            "gateway": self.gateway,
            "inspectedBy": printable(self.inspected_by),
            "route": self.way,
            "routeReason": self.reason,
            "seconds": round(self.seconds, 3),
            "failedHop": error.hop if error is not None else "",
            "hops": [one.to_json() for one in self.hops],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A whole check."""

    connection_type: str
    """gateway when one is in use, else the setting."""
    upstream_proxy: str
    gateway_url: str
    rows: tuple[Row, ...]
    arc_proxy: str = ""
    """running, not running, or empty where it doesn't matter."""
    notes: tuple[str, ...] = ()
    """Sentences about what could not be checked, and why."""

    @property
    def exit_code(self) -> int:
        """Return 0 when all is well."""
        if self.is_reachable is False:
            return NETWORK_ERROR
        return ARC_PROXY_NOT_RUNNING if self.arc_proxy == "not running" else 0

    @property
    def is_reachable(self) -> bool | None:
        """Whether everything was reached; None when nothing failed but not all could be tried."""
        found = {row.is_reachable for row in self.rows}
        return False if not found or False in found else None if None in found else True

    def lines(self) -> list[str]:
        """Return the report as lines: settings, table, and one line for each broken row."""
        lines = [f"{label:<16}: {value}" for label, value in self.settings() if value]
        lines += ["", *_table([COLUMNS, *(row.cells() for row in self.rows)])]
        broken = [row.explanation() for row in self.rows if row.is_reachable is False]
        if self.arc_proxy == "not running":
            broken.append(
                "Arc Proxy is not running. What to do: start it ('systemctl start arcproxyd', or 'arcproxyd')."
            )
        return [*lines, *(["", *broken] if broken else []), *(["", *self.notes] if self.notes else [])]

    def settings(self) -> tuple[tuple[str, str], ...]:
        """Return what the check was made with, as labels and values."""
        return (
            ("connection.type", self.connection_type),
            ("Upstream Proxy", self.upstream_proxy or "not set"),
            ("Gateway URL", self.gateway_url),
            ("Arc Proxy", self.arc_proxy),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "connectionType": self.connection_type,
            "upstreamProxy": self.upstream_proxy,
            "gatewayUrl": self.gateway_url,
            "arcProxy": self.arc_proxy,
            "reachable": self.is_reachable,
            "notes": list(self.notes),
            "endpoints": [row.to_json() for row in self.rows],
        }


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return [" | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
