"""The linter of endpoint lists: what is said twice, what never decides, and what is wider than it looks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from arcgate.core.catalogue import Catalogue
from arcgate.core.patterns import EndpointPattern, covers

IsPublicSuffix = Callable[[str], bool]
"""Says whether anybody can register names directly below a suffix."""


class Fault(StrEnum):
    """What is wrong with a rule."""

    DUPLICATE = "duplicate"
    SHADOWED = "shadowed"
    PUBLIC_SUFFIX = "public-suffix"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one rule; `group` is the feature or scenario that it stands in."""

    fault: Fault
    group: str
    rule: str
    message: str


def lint_catalogue(catalogue: Catalogue, is_public_suffix: IsPublicSuffix) -> list[Finding]:
    """Return the findings in all features and scenarios; placeholders that must be filled in are taken as filled."""
    filled = {name: ("x",) for name, one in catalogue.placeholders.items() if not one.is_open}
    groups = [
        *((one.name, list(one.endpoints)) for one in catalogue.features.values()),
        *((one.name, catalogue.patterns_of(one, filled)) for one in catalogue.scenarios.values()),
    ]
    return [finding for name, patterns in groups for finding in lint_patterns(name, patterns, is_public_suffix)]


def lint_patterns(group: str, patterns: Iterable[EndpointPattern], is_public_suffix: IsPublicSuffix) -> list[Finding]:
    """Return the findings in one list of patterns, in its order."""
    patterns = list(patterns)
    seen: set[tuple[str, int | None]] = set()
    findings: list[Finding] = []
    for one in patterns:
        key = (str(one.host), one.port)
        if key in seen:
            findings.append(Finding(Fault.DUPLICATE, group, one.text, "it stands here more than once"))
            continue
        seen.add(key)
        if (by := _shadow(one, patterns)) is not None:
            findings.append(Finding(Fault.SHADOWED, group, one.text, f"{by} holds all of it already"))
        if isinstance(one.host, str) and one.host.startswith("*.") and is_public_suffix(one.host[2:]):
            message = f"anybody can own a name below {one.host[2:]}: pin it to the names that you need"
            findings.append(Finding(Fault.PUBLIC_SUFFIX, group, one.text, message))
    return findings


def _shadow(one: EndpointPattern, patterns: list[EndpointPattern]) -> EndpointPattern | None:
    return next((other for other in patterns if covers(other, one) and not covers(one, other)), None)
