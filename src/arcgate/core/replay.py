"""Replay: what a policy would have made of the requests that the audit has seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from arcgate.core.observation import Observation, sums
from arcgate.core.policy import Admission, Policy
from arcgate.core.snapshot import Gateway, Machine
from arcgate.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Replay:
    """Observations that would have passed, and those that would have been cut with the verdict on them."""

    kept: tuple[Observation, ...]
    cut: tuple[tuple[Observation, Verdict], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the counts of both and all that would have been cut, the most used first."""
        worst = sorted(self.cut, key=lambda pair: (-pair[0].requests, pair[0].target, pair[0].machine))
        return {
            "kept": _totals([*self.kept]),
            "cut": _totals([one for one, _ in self.cut]),
            "value": [{**one.to_json(), "reason": verdict.reason, "group": verdict.group} for one, verdict in worst],
        }


def replay(observations: Iterable[Observation], policy: Policy, gateway: Gateway) -> Replay:
    """Decide again on what has passed, with the names alone; addresses are looked up when a tunnel is opened."""
    kept: list[Observation] = []
    cut: list[tuple[Observation, Verdict]] = []
    for one in observations:
        if not one.has_passed:
            continue
        verdict = policy.decide(Admission(None, gateway, _machine_of(one, policy, gateway)), one.place())
        if verdict.is_allowed and not verdict.is_audited:
            kept.append(one)
        else:
            cut.append((one, verdict))
    return Replay(tuple(kept), tuple(cut))


def _machine_of(one: Observation, policy: Policy, gateway: Gateway) -> Machine:
    """Return the machine as it is now, associated with the gateway, as it was then; one that is gone has no tags."""
    known = policy.snapshot.machines.get(one.machine_id)
    tags = known.tags if known is not None else frozenset[tuple[str, str]]()
    return Machine(one.machine_id, one.machine, gateway.tenant_id, gateway.prefix, frozenset(), tags)


def _totals(observations: list[Observation]) -> dict[str, Any]:
    return {
        "machines": len({one.machine_id for one in observations}),
        "targets": len({one.target for one in observations}),
        **sums(observations),
    }
