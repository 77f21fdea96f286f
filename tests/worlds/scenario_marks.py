"""Markers of tests that show scenarios: read from the tests' source, without running it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class ScenarioMark:
    """`@pytest.mark.scenario(NAME, CLIENTS)` of one test."""

    scenario: str
    clients: Mapping[str, str]
    """Which client used the endpoint of the catalogue, by endpoint."""
    test: str
    """As pytest names it, from the root of the project."""


def scenario_marks(*files: Path) -> list[ScenarioMark]:
    """Return the markers in these files, or in all tests, in the order of the files' names."""
    return [mark for file in files or sorted(TESTS.rglob("test_*.py")) for mark in _marks_in(file)]


def _marks_in(file: Path) -> Iterator[ScenarioMark]:
    source = file.read_text()
    if "mark.scenario" not in source:
        return
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for one in node.decorator_list:
                if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.mark.scenario":
                    scenario, clients = (ast.literal_eval(argument) for argument in one.args)
                    yield ScenarioMark(scenario, clients, f"{file.relative_to(TESTS.parent)}::{node.name}")
