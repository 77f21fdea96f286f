"""What every test gets: asyncio as the anyio backend, a steady Hypothesis, a check that nothing leaks, an authority."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from arcgate.net.splice import close_spare_pipes
from worlds import scenario_results
from worlds.authority import Authority

EXAMPLES = int(os.environ.get("ARCGATE_EXAMPLES", "60"))
"""Examples of a property; more of them make a longer search for a release."""

# Derandomized: a run on any machine tries the same examples, so that a failure is everybody's to repeat.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("steady"), derandomize=False, max_examples=max(EXAMPLES, 1000))


def pytest_configure() -> None:
    settings.load_profile(_profile())


def pytest_report_header() -> str:
    how = "the same examples in every run" if _profile() == "steady" else "new examples in every run"
    return f"hypothesis: profile {_profile()}, {EXAMPLES} examples, {how} (ARCGATE_HYPOTHESIS, ARCGATE_EXAMPLES)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("ARCGATE_RECORD_SCENARIOS"):
        scenario_results.record(terminalreporter.stats)


def _profile() -> str:
    return os.environ.get("ARCGATE_HYPOTHESIS", "steady")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the whole run shares; tests that need two make `Authority(tmp_path)` for the other."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves file descriptors or asyncio tasks behind. A module may override it by its own."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("nothing_leaks_in_the_loop")
        yield
        return
    before = _descriptors()
    yield
    _fail_over(_left(before))


@pytest.fixture
async def nothing_leaks_in_the_loop() -> AsyncIterator[None]:
    tasks_before, before = asyncio.all_tasks(), _descriptors()
    yield
    # What was cancelled or closed a moment ago gets some turns of the loop to finish.
    for _ in range(100):
        if not _tasks_since(tasks_before) and not _left(before):
            return
        await asyncio.sleep(0.01 if _left(before) else 0)
    names = sorted(task.get_name() for task in _tasks_since(tasks_before))
    _fail_over([*(f"task {name}" for name in names), *_left(before)])


def _tasks_since(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The test's own tasks: the one that runs fixtures is the plugin's."""
    fresh = asyncio.all_tasks() - before - {asyncio.current_task()}
    return {task for task in fresh if "TestRunner" not in getattr(task.get_coro(), "__qualname__", "")}


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:  # the descriptor that lists the folder
            continue
    return found


def _left(before: dict[int, str]) -> list[str]:
    close_spare_pipes()
    if not _newer(before):
        return []
    gc.collect()
    return _newer(before)


def _newer(before: dict[int, str]) -> list[str]:
    return [f"descriptor {number} {what}" for number, what in _descriptors().items() if before.get(number) != what]


def _fail_over(leaks: list[str]) -> None:
    if leaks:
        pytest.fail(f"the test leaked: {', '.join(leaks)}", pytrace=False)
