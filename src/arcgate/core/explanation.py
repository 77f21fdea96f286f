"""Why the policy decides as it does on one machine and one target, for people."""

from typing import Any

from arcgate.core.names import Target
from arcgate.core.patterns import PatternTrie
from arcgate.core.policy import Admission, Policy
from arcgate.core.snapshot import Machine
from arcgate.core.verdicts import EXPLANATIONS


def explain(policy: Policy, machine: Machine, target: Target) -> dict[str, Any]:
    """Return the decision with the rule, group, gateway and revision that it comes from, and who else holds it."""
    gateway = policy.snapshot.gateways.get(machine.gateway) if machine.gateway is not None else None
    groups = policy.groups_of(machine)
    facts: dict[str, Any] = {
        "machine": machine.resource_id,
        "target": target.authority,
        "gateway": gateway.resource_id if gateway is not None else None,
        "groups": [group.name for group in groups],
        "narrowing": [group.name for group in groups if group.allowed_features is not None],
        "revision": policy.snapshot.revision,
        "names": _names(policy, target, dict(gateway.policy.parameters) if gateway is not None else {}),
    }
    if gateway is None:
        return {**facts, "verdict": "none", "sentence": "The machine is not associated with a gateway.", "remedy": ""}
    verdict = policy.decide(Admission(None, gateway, machine), target)
    explanation = EXPLANATIONS.get(verdict.reason)
    return {
        **facts,
        "mode": str(gateway.policy.mode),
        "verdict": verdict.name,
        "reason": str(verdict.reason),
        "feature": verdict.feature,
        "rule": verdict.rule,
        "group": verdict.group,
        "sentence": explanation.sentence if explanation else "A rule of the gateway allows it.",
        "remedy": explanation.remedy if explanation else "",
    }


def _names(policy: Policy, target: Target, parameters: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the features and scenarios that hold the target, allowed or not."""
    patterns = {name: policy.catalogue.patterns([name], parameters) for name in policy.catalogue.names}
    return [name for name, found in patterns.items() if PatternTrie((one, True) for _, one in found).find(target)]
