from pathlib import Path

import pytest

from arcgate.cli.regular_file import Unreadable, read_regular_file


def test_content_and_rights_are_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o640)
    path.write_bytes(b"content")
    file = read_regular_file(path, 7)
    assert (file.data, file.mode & 0o777, file.is_open_to_others) == (b"content", 0o640, True)


def test_a_file_above_its_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with pytest.raises(Unreadable, match="more than 6 bytes"):
        read_regular_file(path, 6)


@pytest.mark.parametrize("name", ["/", "/dev/null", "/nowhere/at/all", "a\0b"])
def test_what_is_no_regular_file_is_told(name: str) -> None:
    with pytest.raises(Unreadable):
        read_regular_file(Path(name), 1)
