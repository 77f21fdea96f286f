"""What is read out of arcproxy.log."""

from datetime import UTC, datetime
from pathlib import Path

import structlog
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.check.request_history import PastRequest, RequestHistory, parse_history, read_history
from arcgate.agent.log_file import LogFile
from arcgate.agent.proxy.request_log import RequestRecord
from arcgate.core.names import parse_target
from arcgate.core.routing import Route, Way
from arcgate.net.logs import configure_logging

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
START = "time=2026-01-02T10:00:00Z level=info msg=started"
DIRECT = 'time=2026-01-02T11:00:00Z level=info msg=request target=a.example.com:443 way=direct why="no \\"gateway\\""'
PROXIED = 'time=2026-01-02T12:00:00.5Z level=info msg=request target=http://b.example.com/c way="enterprise proxy"'


def _parse(*lines: str, since: datetime = BEGIN) -> RequestHistory:
    return parse_history(lines, since)


def test_requests_have_their_time_target_and_way() -> None:
    assert _parse(START, DIRECT, PROXIED).requests == (
        PastRequest(datetime(2026, 1, 2, 11, tzinfo=UTC), parse_target("a.example.com:443"), Way.DIRECT),
        PastRequest(
            datetime(2026, 1, 2, 12, 0, 0, 500_000, tzinfo=UTC), parse_target("b.example.com:80"), Way.ENTERPRISE
        ),
    )


def test_older_requests_are_left_out_and_still_show_how_far_the_log_reaches() -> None:
    history = _parse(DIRECT, PROXIED, since=datetime(2026, 1, 2, 11, 30, tzinfo=UTC))
    assert [str(one.target) for one in history.requests] == ["b.example.com:80"]
    assert history.complete_since == datetime(2026, 1, 2, 11, tzinfo=UTC)


def test_an_empty_log_reaches_nowhere() -> None:
    assert _parse("").complete_since is None


def test_after_lost_lines_the_log_is_complete_from_the_next_one_on() -> None:
    lost = 'level=warning msg="lines were lost while the log could not be written" lines=3'
    assert _parse(START, DIRECT, lost, PROXIED).complete_since == datetime(2026, 1, 2, 12, 0, 0, 500_000, tzinfo=UTC)


@given(st.text())
def test_no_line_is_an_error(line: str) -> None:
    _parse(line, f"time={line} msg=request target={line} way={line}", f"time=2026-01-02T10:00:00Z msg=request {line}")


def test_what_arc_proxy_writes_is_read_back_from_all_parts_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    log = LogFile(path, largest=600, kept=5)
    configure_logging("info", file=log.as_text())
    try:
        for number in range(4):
            record = RequestRecord(
                "c", "127.0.0.1:1", lambda: 0.0, method="CONNECT", target=f"n{number}.example.com:443"
            )
            record.route = Route(Way.ENTERPRISE, "the gateway does not carry it")
            record.status = 200
            record.log_end()
    finally:
        log.close()
        structlog.reset_defaults()
    assert len(list(tmp_path.iterdir())) > 1
    history = read_history(path, BEGIN)
    assert [str(one.target) for one in history.requests] == [f"n{number}.example.com:443" for number in range(4)]
    assert {one.way for one in history.requests} == {Way.ENTERPRISE}
