"""What the audit has seen, summed up by machine and target: the stuff that proposals and replays are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arcgate.core.names import Target, parse_target
from arcgate.core.verdicts import Reason

PASSED = ("allowed", "audited")
"""Verdicts of requests that became tunnels."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All requests of one machine for one target with one verdict. Times are ISO 8601 in UTC."""

    machine_id: str
    machine: str
    """Resource id in lower case."""
    target: str
    verdict: str
    reason: str
    feature: str
    rule: str
    requests: int
    bytes_up: int
    bytes_down: int
    first: str
    last: str

    @property
    def has_passed(self) -> bool:
        """Whether tunnels came of it that a policy has a say in; the control plane's are open to everybody."""
        return self.verdict in PASSED and self.reason != Reason.CONTROL_PLANE

    def place(self) -> Target:
        """Return the target; raises InputError for a record that was damaged."""
        return parse_target(self.target)

    def to_json(self) -> dict[str, Any]:
        """Return the observation as the API shows it."""
        return {
            "machineId": self.machine_id,
            "machine": self.machine,
            "target": self.target,
            "verdict": self.verdict,
            "reason": self.reason,
            "feature": self.feature,
            "rule": self.rule,
            **sums([self]),
        }


def sums(observations: list[Observation]) -> Mapping[str, Any]:
    """Return counts, bytes, and first and last time of observations together."""
    return {
        "requests": sum(one.requests for one in observations),
        "bytesUp": sum(one.bytes_up for one in observations),
        "bytesDown": sum(one.bytes_down for one in observations),
        "firstSeen": min((one.first for one in observations), default=""),
        "lastSeen": max((one.last for one in observations), default=""),
    }
