"""The loop of the processes that carry tunnels."""

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest
import uvloop

from arcgate.net import event_loop

# The first loop opens a pair of descriptors that libuv keeps for the process: not a leak of a test.
uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


async def _name_loop(names: list[str]) -> None:
    names.append(type(asyncio.get_running_loop()).__module__)


def test_a_service_runs_on_uvloop_where_it_is_installed() -> None:
    names: list[str] = []
    event_loop.run(_name_loop(names))
    assert names == ["uvloop"]


def test_a_service_runs_on_asyncio_s_own_loop_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    names: list[str] = []
    event_loop.run(_name_loop(names))
    assert names == ["asyncio.unix_events"]


def test_the_collector_is_told_to_look_rarely() -> None:
    event_loop.run(_name_loop([]))
    assert gc.get_threshold()[0] == event_loop.YOUNG_OBJECTS
    assert gc.get_freeze_count() > 0
