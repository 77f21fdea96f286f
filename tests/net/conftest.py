"""What every network test gets: the logs of all services of its network when it fails."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from worlds import network

HERE = Path(__file__).parent
MEASURED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.namespaced)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [("services of the network", one.describe()) for one in network.living]
    return report


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Takes a time in seconds for the run's closing lines: a figure to look at, never a reason to fail."""
    return lambda what, seconds: request.config.stash.setdefault(MEASURED, []).append(f"{what}: {seconds:.2f} s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(MEASURED, []):
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)
