"""Log files: bounded, private, and never a reason to fail."""

import io
import os
from pathlib import Path

from arcgate.agent.log_file import LogFile


def test_lines_are_appended_and_echoed(tmp_path: Path) -> None:
    echo = io.StringIO()
    path = tmp_path / "himds.log"
    path.write_text("before\n")
    log = LogFile(path, echo)
    log.write("line\n")
    log.close()
    assert path.read_text() == "before\nline\n"
    assert echo.getvalue() == "line\n"


def test_a_missing_folder_loses_lines_and_says_so_later(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "later" / "himds.log")
    log.write("lost\n")
    (tmp_path / "later").mkdir()
    log.write("kept\n")
    log.close()
    lines = (tmp_path / "later" / "himds.log").read_text().splitlines()
    assert lines[0].endswith("lines=1")
    assert lines[1:] == ["kept"]


def test_a_fifo_in_place_of_the_log_stops_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "himds.log")
    log = LogFile(tmp_path / "himds.log")
    log.write("lost\n")
    log.close()


def test_a_file_is_turned_over_before_it_grows_too_large_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    file = LogFile(path, largest=100, kept=2)
    for number in range(12):
        file.write(f"line {number:02} {'x' * 31}\n")
    file.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["arcproxy.log", "arcproxy.log.1", "arcproxy.log.2"]
    assert all(one.stat().st_size <= 100 for one in path.parent.iterdir())
    kept = "".join(path.with_name(name).read_text() for name in ("arcproxy.log.2", "arcproxy.log.1", "arcproxy.log"))
    assert [line[5:7] for line in kept.splitlines()] == ["06", "07", "08", "09", "10", "11"]


def test_a_line_longer_than_a_file_is_still_written_whole(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "arcproxy.log", largest=10, kept=1)
    file.write("a" * 50 + "\n")
    file.close()
    assert (tmp_path / "arcproxy.log").read_text() == "a" * 50 + "\n"


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    for text in ("one\n", "two\n"):
        file = LogFile(path)
        file.write(text)
        file.close()
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_loses_lines_and_says_how_many_when_it_has_room_again(tmp_path: Path) -> None:
    path = tmp_path / "arcproxy.log"
    file = LogFile(path)
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
    file = LogFile(tmp_path / "arcproxy.log")
    file.write("line\n")
    file.close()
    assert victim.read_text() == ""


def test_others_cannot_read_the_log(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "himds.log")
    log.write("line\n")
    log.close()
    assert (tmp_path / "himds.log").stat().st_mode & 0o007 == 0


def test_a_line_after_the_end_opens_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "himds.log")
    log.close()
    log.write("late\n")
    assert list(tmp_path.iterdir()) == []
