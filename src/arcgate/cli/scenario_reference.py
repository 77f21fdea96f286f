"""docs/reference/scenarios.md: scenario by endpoint, who carries it, and what has been tested."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from arcgate.cli.command_reference import GENERATED
from arcgate.core.catalogue import Catalogue, Scenario, ScenarioEndpoint, shipped_catalogue
from arcgate.core.catalogue.placeholders import filled, placeholders_in
from arcgate.core.patterns import covers, parse_pattern

HEAD = f"""# Scenarios

*For operators who choose a gateway's `--allowed-features`.* {GENERATED}

A scenario is named in allowed features like a [feature](features.md); `*` does not include scenarios. *Original* says
whether the original's own gateway carries the endpoint; what it doesn't, the firewall has to let out there. Here all of
a scenario's endpoints go through the gateway.

*Tested with* names the real client that used the endpoint through a gateway, towards a stand-in of the service, on a
machine that reaches nothing else. While the scenario was off, the same was refused. Where it is plain *curl*, a page
was asked for, to see that the endpoint is carried; the program that uses it in earnest was not there.

Placeholders are filled in by `arcgate policy set --parameter NAME=VALUE`. Those that are open stand for any value until
then; an endpoint with another one stays closed, for anybody can own such a name.

## Placeholders

| placeholder | meaning | open |
|---|---|---|"""

OWN_WAY = "the gateway's own name"
"""Stands for an endpoint where we do without the vendor's."""


def render_scenarios() -> str:
    """Return the page of the catalogue's scenarios, with the results of their tests."""
    catalogue = shipped_catalogue()
    placeholders = [
        f"| `<{one.name}>` | {one.meaning} | {'yes' if one.is_open else 'no'} |"
        for one in catalogue.placeholders.values()
    ]
    results = read_results()
    sections = [
        line for one in catalogue.scenarios.values() for line in _section(one, catalogue, results.get(one.name))
    ]
    return "\n".join([HEAD, *placeholders, "", *_overview(catalogue, results), "", *sections])


def read_results() -> Mapping[str, Mapping[str, Any]]:
    """Return what has been tested by the name of the scenario: result, tests, date, and clients by endpoint."""
    text = files("arcgate.core.catalogue").joinpath("tested.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text).get("scenarios", {}))


def is_of_original(endpoint: ScenarioEndpoint, catalogue: Catalogue) -> bool:
    """Say whether the original's published list holds all of an endpoint, with its placeholders as any names."""
    every = dict.fromkeys(catalogue.placeholders, ("*",))
    narrow = [parse_pattern(text) for text in filled(endpoint.text, every, catalogue.placeholders)]
    wide = [pattern for feature in catalogue.features.values() for pattern in feature.endpoints]
    return all(any(covers(one, pattern) for one in wide) for pattern in narrow)


def _overview(catalogue: Catalogue, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    head = [
        *("## Coverage", "", "| scenario | endpoints | original | Arcgate | tested | with |"),
        "|---|---|---|---|---|---|",
    ]
    rows = []
    for one in catalogue.scenarios.values():
        original = sum(is_of_original(endpoint, catalogue) for endpoint in one.endpoints)
        count = len(one.endpoints)
        tested = _tested(one, results.get(one.name))
        rows.append(f"| [{one.name}](#{one.name.lower()}) | {count} | {original} of {count} | all | {tested} |")
    return [*head, *rows]


def _tested(one: Scenario, result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not yet | "
    names = sorted({client for clients in result["clients"].values() for client in clients})
    count = sum(endpoint.text in result["clients"] for endpoint in one.endpoints)
    ways = f"{count} of {len(one.endpoints)}" if count else "by a way of our own"
    return f"{ways}, {result['result']} {result['date']} | {', '.join(names)}"


def _section(one: Scenario, catalogue: Catalogue, result: Mapping[str, Any] | None) -> list[str]:
    parameters = sorted({name for endpoint in one.endpoints for name in placeholders_in(endpoint.text)})
    needs = f" Parameters: {', '.join(f'`{name}`' for name in parameters)}." if parameters else ""
    test = f" Tests: {', '.join(f'`{name}`' for name in result['tests'])}." if result is not None else ""
    clients = {} if result is None else result["clients"]
    rows = [
        f"| `{endpoint.text}` | {endpoint.purpose} | {endpoint.when} | "
        f"{'yes' if is_of_original(endpoint, catalogue) else 'no'} | {', '.join(clients.get(endpoint.text, ()))} |"
        for endpoint in one.endpoints
    ]
    if OWN_WAY in clients:
        rows.append(f"| {OWN_WAY} | Takes the place of all of these | always | no | {', '.join(clients[OWN_WAY])} |")
    return [
        *(f"## {one.name}", "", f"{one.title}. {one.purpose}{needs}{test}", "", f"Source: {one.source}.", ""),
        *("| endpoint | purpose | when | original | tested with |", "|---|---|---|---|---|", *rows, ""),
    ]
