"""state/himds.json: what `azcmagent show` gets to know."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from arcgate.agent.himds.status import StatusBoard
from arcgate.agent.http import Problem, ServiceRefusal
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import HimdsState, read_himds_state, write_himds_state
from arcgate.core.errors import Hop, HopError

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
BROKEN = HopError(Hop.DNS, "DNS_FAILED", "It could not be resolved.", remedy="Check DNS.")


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path)})
    found.prepare()
    return found


def _board(paths: AgentPaths) -> StatusBoard:
    return StatusBoard(paths, lambda: NOW)


def test_a_heartbeat_is_noted_with_the_clock_difference(paths: AgentPaths) -> None:
    _board(paths).heartbeat_accepted(timedelta(seconds=-90))
    state = read_himds_state(paths)
    assert (state.status, state.last_heartbeat, state.server_time_offset) == (
        "Connected",
        "2026-05-04T12:00:00Z",
        -90,
    )


def test_a_failed_heartbeat_keeps_the_time_of_the_last_good_one(paths: AgentPaths) -> None:
    board = _board(paths)
    board.heartbeat_accepted(timedelta())
    board.failed("heartbeat", BROKEN)
    state = read_himds_state(paths)
    assert (state.status, state.error_code) == ("Disconnected", "DNS_FAILED")
    assert state.last_heartbeat == state.error_timestamp == "2026-05-04T12:00:00Z"
    assert state.error_details == "It could not be resolved. Check DNS."


def test_a_success_ends_the_failure(paths: AgentPaths) -> None:
    board = _board(paths)
    board.failed("heartbeat", BROKEN)
    board.heartbeat_accepted(timedelta())
    assert read_himds_state(paths).error_code == ""


def test_the_gravest_of_several_failures_is_shown(paths: AgentPaths) -> None:
    board = _board(paths)
    board.failed("goal", BROKEN)
    board.failed("heartbeat", ServiceRefusal(404, Problem("MachineNotFound", "There is no such machine.", {})))
    assert read_himds_state(paths).error_code == "MachineNotFound"
    board.succeeded("heartbeat")
    assert read_himds_state(paths).error_code == "DNS_FAILED"


def test_a_lasting_failure_keeps_the_time_of_its_begin_and_is_not_written_again(paths: AgentPaths) -> None:
    board = _board(paths)
    board.failed("goal", BROKEN)
    before = paths.himds_state.stat().st_mtime_ns
    board.failed("goal", BROKEN)
    assert paths.himds_state.stat().st_mtime_ns == before


def test_after_a_restart_the_last_heartbeat_is_still_known_but_no_old_failure(paths: AgentPaths) -> None:
    write_himds_state(paths, HimdsState("Disconnected", "2026-05-04T11:00:00Z", "OLD", "old"))
    _board(paths).goal_known(4)
    state = read_himds_state(paths)
    assert (state.last_heartbeat, state.error_code, state.goal_revision) == ("2026-05-04T11:00:00Z", "", 4)


def test_a_state_that_cannot_be_written_stops_nothing(paths: AgentPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("arcgate.agent.himds.status.write_himds_state", full)
    board = _board(paths)
    board.goal_known(4)
    assert board.state.goal_revision == 4
