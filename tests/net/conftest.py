"""What every network test gets: the logs of all services of its network when it fails."""

from collections.abc import Generator
from pathlib import Path

import pytest

from worlds import network

HERE = Path(__file__).parent


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
