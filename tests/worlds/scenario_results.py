"""The committed results of the scenarios' tests: what the markers say, and whether the last recorded run agreed."""

import json
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worlds.scenario_marks import ScenarioMark, scenario_marks

FILE = Path(__file__).parents[2] / "src/arcgate/core/catalogue/tested.toml"
PAGE = "curl"
HEAD = """\
# Results of the scenarios' tests: which real client used which endpoint through a gateway. Made by the tests' own run,
# `make scenario-results`; a test compares it with the tests' markers.
"""


def committed() -> dict[str, dict[str, Any]]:
    """Return the results of the file by scenario."""
    return dict(tomllib.loads(FILE.read_text()).get("scenarios", {}))


def claims(marks: Iterable[ScenarioMark]) -> dict[str, dict[str, Any]]:
    """Return what the markers say by scenario: tests, and clients by endpoint."""
    found: dict[str, dict[str, Any]] = {}
    for mark in marks:
        claim = found.setdefault(mark.scenario, {"tests": [], "clients": {}})
        claim["tests"].append(mark.test)
        for endpoint, clients in mark.clients.items():
            known = claim["clients"].setdefault(endpoint, [])
            known += [client for client in clients if client not in known]
    for claim in found.values():
        # What asks for a page alone says nothing where a client has done its work.
        claim["clients"] = {
            endpoint: [one for one in known if one != PAGE] or known for endpoint, known in claim["clients"].items()
        }
    return found


def recorded(marks: Iterable[ScenarioMark], passed: Mapping[str, bool], date: str) -> dict[str, dict[str, Any]]:
    """Return new results, from what has passed by test; tests that did not run keep the result that they had."""
    before = committed()
    known = {test: one["result"] == "passed" for one in before.values() for test in one["tests"]}
    results = {}
    for scenario, claim in claims(marks).items():
        outcomes = [{**known, **passed}.get(test) for test in claim["tests"]]
        if None not in outcomes:
            ran = passed.keys() & set(claim["tests"]) or scenario not in before
            facts = {
                "result": "passed" if all(outcomes) else "failed",
                "date": date if ran else before[scenario]["date"],
            }
            results[scenario] = {**facts, **claim}
    return results


def record(reports: Mapping[str, Sequence[Any]]) -> None:
    """Write the file anew from pytest's reports of a run, by kind."""
    passed: dict[str, bool] = {}
    for kind in ("passed", "failed", "error"):
        for report in reports.get(kind, ()):
            test = report.nodeid.partition("[")[0]
            passed[test] = passed.get(test, True) and kind == "passed"
    FILE.write_text(render(recorded(scenario_marks(), passed, time.strftime("%Y-%m-%d"))))


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of the file."""
    lines = [HEAD]
    for scenario, one in sorted(results.items()):
        lines += [f"[scenarios.{scenario}]", f'result = "{one["result"]}"', f"date = {one['date']}"]
        # TOML writes strings and lists of them as JSON does.
        lines += [f"tests = {json.dumps(one['tests'])}", f"[scenarios.{scenario}.clients]"]
        lines += [f"{json.dumps(endpoint)} = {json.dumps(clients)}" for endpoint, clients in one["clients"].items()]
        lines.append("")
    return "\n".join(lines)
