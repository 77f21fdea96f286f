"""Which firewall rules may go: of documented endpoints that nothing reached without the gateway for a while. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from arcgate.agent.check.request_history import PastRequest, RequestHistory
from arcgate.core.catalogue import Catalogue
from arcgate.core.catalogue.placeholders import OPEN, filled
from arcgate.core.errors import InputError
from arcgate.core.names import Target
from arcgate.core.patterns import EndpointPattern, parse_pattern
from arcgate.core.routing import Routing, Way

REACH = (
    "This is what Arc Proxy of this machine has seen. Programs that go past it, and other machines behind the same "
    "firewall, are not in its log: ask all of them before you close a rule that they share."
)


NOTHING_CARRIED: Mapping[Target, datetime] = MappingProxyType({})


class Advice(StrEnum):
    """What to do with a rule."""

    MAY_GO = "may go"
    KEEP = "keep"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Rule:
    """One documented endpoint, as firewalls open it, with what was seen of it."""

    endpoint: str
    use: str
    advice: Advice
    why: str
    last_direct: datetime | None = None
    example: str = ""
    """The last target that was reached without the gateway."""

    def to_json(self) -> dict[str, Any]:
        """Return the rule."""
        return {
            "endpoint": self.endpoint,
            "use": self.use,
            "advice": self.advice,
            "why": self.why,
            "lastDirectUse": self.last_direct.isoformat(timespec="seconds") if self.last_direct else "",
            "lastDirectTarget": self.example,
        }


@dataclass(frozen=True, slots=True)
class RulesReport:
    """The advice for all documented endpoints, and the targets that no list names and that are in use all the same."""

    hours: int
    complete_since: datetime | None
    rules: tuple[Rule, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as lines."""
        since = self.complete_since.isoformat(timespec="seconds") if self.complete_since else "never"
        lines = [f"Looked at: the last {self.hours} h; the log is complete since: {since}", ""]
        for advice in (Advice.KEEP, Advice.UNKNOWN, Advice.MAY_GO):
            chosen = [rule for rule in self.rules if rule.advice is advice]
            lines += [f"{advice.upper()} ({len(chosen)})", *(_rule_line(rule) for rule in chosen), ""]
        if self.others:
            lines += [f"IN USE, AND IN NO LIST ({len(self.others)})", *(f"  {one}" for one in self.others), ""]
        return [*lines, *self.notes]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "hours": self.hours,
            "completeSince": self.complete_since.isoformat(timespec="seconds") if self.complete_since else "",
            "rules": [rule.to_json() for rule in self.rules],
            "others": list(self.others),
            "notes": list(self.notes),
        }


def advise(
    history: RequestHistory,
    documented: Mapping[EndpointPattern, str],
    routing: Routing,
    now: datetime,
    hours: int,
    problems: Iterable[str] = (),
    carried: Mapping[Target, datetime] = NOTHING_CARRIED,
) -> RulesReport:
    """Return the advice. `documented` has each endpoint's use; `problems` say why the log can't be believed.

    `carried` are targets that the audit has, with the last time of each: they say more of why, and never that a rule
    may go, for the audit does not see what goes past the gateway.
    """
    since = now - timedelta(hours=hours)
    notes = list(problems)
    if not routing.uses_gateway:
        notes.append("This machine does not use a gateway now, so every rule that is needed stays needed.")
    if history.complete_since is None or history.complete_since > since:
        notes.append(f"The log does not reach back {hours} h: what was not seen is not known. Ask again later.")
    blind = bool(notes)
    by_pattern, others = _sorted_out([one for one in history.requests if one.moment >= since], documented)
    rules = tuple(
        _rule(pattern, use, by_pattern.get(pattern, []), _last_carried(pattern, carried), blind)
        for pattern, use in documented.items()
    )
    return RulesReport(hours, history.complete_since, rules, others, (*notes, REACH))


def documented_endpoints(catalogue: Catalogue) -> dict[EndpointPattern, str]:
    """Return all documented endpoints, each with what it is for; placeholders stand for any name."""
    anything = dict.fromkeys(catalogue.placeholders, (OPEN,))
    needed = {
        _pattern(text): scenario.title
        for scenario in catalogue.scenarios.values()
        for one in scenario.endpoints
        for text in filled(one.text, anything, catalogue.placeholders)
    }
    carried = {pattern: one.title for one in catalogue.features.values() for pattern in one.endpoints}
    return {**needed, **carried}


def _pattern(text: str) -> EndpointPattern:
    """Return the pattern, or the least one that firewalls know: a star further right swallows what is left of it."""
    try:
        return parse_pattern(text)
    except InputError:
        return parse_pattern(f"*.{text[text.rindex('*') :].partition('.')[2]}")


def _sorted_out(
    requests: Iterable[PastRequest], documented: Mapping[EndpointPattern, str]
) -> tuple[dict[EndpointPattern, list[PastRequest]], tuple[str, ...]]:
    """Return the requests by the endpoints that they may have needed, and targets in use that none of them names."""
    by_target: dict[Target, list[PastRequest]] = {}
    for one in requests:
        if one.way is not Way.REFUSE:
            by_target.setdefault(one.target, []).append(one)
    found: dict[EndpointPattern, list[PastRequest]] = {}
    others: list[str] = []
    for target, group in by_target.items():
        # A firewall may have opened the wider pattern as well as the name: each of them may be the one in use.
        patterns = [pattern for pattern in documented if pattern.matches(target)]
        for pattern in patterns:
            found.setdefault(pattern, []).extend(group)
        if not patterns and any(one.way is not Way.GATEWAY for one in group):
            others.append(target.authority)
    return found, tuple(sorted(others))


def _last_carried(pattern: EndpointPattern, carried: Mapping[Target, datetime]) -> str:
    """Return the words for what the audit has of an endpoint, empty for nothing."""
    moments = [moment for target, moment in carried.items() if pattern.matches(target)]
    return f"; the audit: last through the gateway {max(moments).isoformat(timespec='seconds')}" if moments else ""


def _rule(pattern: EndpointPattern, use: str, requests: list[PastRequest], audited: str, blind: bool) -> Rule:
    direct = [one for one in requests if one.way is not Way.GATEWAY]
    if direct:
        last = max(direct, key=lambda one: one.moment)
        why = f"{len(direct)} requests went to it by the way '{last.way}'"
        return Rule(pattern.text, use, Advice.KEEP, why, last.moment, last.target.authority)
    if blind:
        return Rule(pattern.text, use, Advice.UNKNOWN, f"the log does not tell enough{audited}")
    why = f"{len(requests)} requests, all through the gateway" if requests else "nothing asked for it"
    return Rule(pattern.text, use, Advice.MAY_GO, why + audited)


def _rule_line(rule: Rule) -> str:
    last = f", last {rule.last_direct.isoformat(timespec='seconds')} ({rule.example})" if rule.last_direct else ""
    return f"  {rule.endpoint:<52} {rule.use}: {rule.why}{last}"
