"""arcproxy.log: one line a request, without secrets."""

import io

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.proxy.request_log import RequestRecord, shown_target
from arcgate.core.routing import Route, Way
from arcgate.net.logs import configure_logging


def _logged(record: RequestRecord, level: str = "debug") -> str:
    output = io.StringIO()
    configure_logging(level, file=output)
    try:
        record.log_start()
        record.log_end()
    finally:
        structlog.reset_defaults()
    return output.getvalue()


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_request_is_one_printable_line_at_its_start_and_one_at_its_end(target: str, detail: str) -> None:
    record = RequestRecord("id-1234567", "127.0.0.1", lambda: 5.0)
    record.target, record.detail, record.status, record.reason = target, detail, 403, "route_refused"
    lines = _logged(record).split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    assert all(line.isprintable() for line in lines)


def test_the_line_tells_way_reason_bytes_and_duration() -> None:
    times = iter((10.0, 12.5))
    record = RequestRecord("id-1234567", "127.0.0.1", lambda: next(times), method="CONNECT", target="a.example.com:443")
    record.route = Route(Way.ENTERPRISE, "the gateway does not carry it")
    record.status, record.reason = 200, "completed"
    record.traffic.up, record.traffic.down = 7, 9
    line = _logged(record, "info")
    assert "level=info msg=request" in line
    assert 'client=127.0.0.1 method=CONNECT target=a.example.com:443 way="enterprise proxy"' in line
    assert "status=200 reason=completed bytes_up=7 bytes_down=9 duration=2.5" in line


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"a.example.com:443", "a.example.com:443"),
        (b"http://a.example.com/blob?sig=c2VjcmV0", "http://a.example.com/blob"),
        (b"http://user:secret@a.example.com/", "http://***@a.example.com/"),
        (b"user:secret@a.example.com:443", "***@a.example.com:443"),
        (b"http://user:se@cret@a.example.com#secret", "http://***@a.example.com"),
        (b"\xff", "\\xff"),
    ],
)
def test_secrets_in_a_request_target_are_not_logged(target: bytes, shown: str) -> None:
    assert shown_target(target) == shown
