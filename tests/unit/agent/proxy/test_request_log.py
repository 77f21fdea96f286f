"""arcproxy.log: turning over, surviving the disk, one line a request."""

import io
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.proxy.request_log import RequestRecord, RotatingFile, shown_target
from arcgate.core.routing import Route, Way
from arcgate.net.logs import configure_logging


def test_a_file_is_turned_over_before_it_grows_too_large_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "log" / "arcproxy.log"
    file = RotatingFile(path, largest=100, kept=2)
    for number in range(12):
        file.write(f"line {number:02} {'x' * 31}\n")
    file.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["arcproxy.log", "arcproxy.log.1", "arcproxy.log.2"]
    assert all(one.stat().st_size <= 100 for one in path.parent.iterdir())
    kept = "".join(path.with_name(name).read_text() for name in ("arcproxy.log.2", "arcproxy.log.1", "arcproxy.log"))
    assert [line[5:7] for line in kept.splitlines()] == ["06", "07", "08", "09", "10", "11"]


def test_a_line_longer_than_a_file_is_still_written_whole(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "arcproxy.log", largest=10, kept=1)
    file.write("a" * 50 + "\n")
    file.close()
    assert (tmp_path / "arcproxy.log").read_text() == "a" * 50 + "\n"


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    for text in ("one\n", "two\n"):
        file = RotatingFile(path)
        file.write(text)
        file.close()
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_loses_lines_and_says_how_many_when_it_has_room_again(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    file = RotatingFile(path)
    file.write("before\n")
    broken, file._descriptor = file._descriptor, os.open("/dev/full", os.O_WRONLY)
    file.write("lost\n")
    file.write("lost\n")
    os.close(file._descriptor)
    file._descriptor = broken
    file.write("after\n")
    file.close()
    lines = path.read_text().splitlines()
    assert (lines[0], lines[2]) == ("before", "after")
    assert lines[1].endswith("lines=2")


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (tmp_path / "arcproxy.log").symlink_to(victim)
    file = RotatingFile(tmp_path / "arcproxy.log")
    file.write("line\n")
    file.close()
    assert victim.read_text() == ""


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
