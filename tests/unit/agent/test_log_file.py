"""Log files: bounded, private, and never a reason to fail."""

import io
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


def test_a_large_file_is_renamed_once(tmp_path: Path) -> None:
    path = tmp_path / "himds.log"
    log = LogFile(path, largest=10)
    for number in range(5):
        log.write(f"line number {number}\n")
    log.close()
    assert path.read_text() == "line number 4\n"
    assert (tmp_path / "himds.log.1").read_text() == "line number 3\n"


def test_a_missing_folder_loses_lines_and_raises_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "later" / "himds.log")
    log.write("lost\n")
    (tmp_path / "later").mkdir()
    log.write("kept\n")
    log.close()
    assert (tmp_path / "later" / "himds.log").read_text() == "kept\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "himds.log").symlink_to(tmp_path / "victim")
    log = LogFile(tmp_path / "himds.log")
    log.write("line\n")
    log.close()
    assert not (tmp_path / "victim").exists()


def test_others_cannot_read_the_log(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "himds.log")
    log.write("line\n")
    log.close()
    assert (tmp_path / "himds.log").stat().st_mode & 0o007 == 0
