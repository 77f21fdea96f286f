"""Markers of tests that show scenarios: read from the tests' source, without running it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcgate.core.catalogue import shipped_catalogue

TESTS = Path(__file__).parents[1]
SCENARIOS = shipped_catalogue().scenarios


@dataclass(frozen=True)
class ScenarioMark:
    """`@pytest.mark.scenario(NAME, CLIENTS)` of one test; `*` stands for all scenarios, or the endpoints not named."""

    scenario: str
    clients: Mapping[str, tuple[str, ...]]
    """Which clients used the endpoint of the catalogue, by endpoint."""
    test: str
    """As pytest names it, from the root of the project."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that the test uses."""
        return tuple(self.clients)


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
                    for name in SCENARIOS if scenario == "*" else (scenario,):
                        yield ScenarioMark(name, _by_endpoint(name, clients), f"{_name_of(file)}::{node.name}")


def _by_endpoint(scenario: str, clients: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    known = [one.text for one in SCENARIOS[scenario].endpoints] if "*" in clients else []
    named = {**dict.fromkeys(known, clients.get("*", "")), **clients}
    return {endpoint: tuple(names.split(", ")) for endpoint, names in named.items() if endpoint != "*"}


def _name_of(file: Path) -> str:
    root = TESTS.parent
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
