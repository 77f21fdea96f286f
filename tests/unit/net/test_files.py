"""Files are replaced whole, for our eyes only, and nothing is left behind."""

import os
import stat
from pathlib import Path

import pytest

from arcgate.core.errors import StateError
from arcgate.net.files import read_json, signature_of, write_file, write_json


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_for_our_eyes_only_and_so_is_every_folder_that_is_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    write_json(path, {"key": "Grüße"})
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o700
    assert read_json(path) == {"key": "Grüße"}


def test_a_mode_may_be_given_whatever_the_umask(tmp_path: Path) -> None:
    write_file(tmp_path / "ca.pem", "public", 0o644)
    assert mode_of(tmp_path / "ca.pem") == 0o644


def test_replacing_a_file_corrects_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o666)
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "state.json"
    elsewhere.write_text("untouched")
    path.symlink_to(elsewhere)
    write_json(path, 1)
    assert elsewhere.read_text() == "untouched"
    assert not path.is_symlink()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"old": True})
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(OSError, match="folder"):
        write_file(tmp_path / "folder", b"x")
    assert read_json(path) == {"old": True}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "state.json"]


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") is None
    assert read_json(tmp_path / "no" / "folder.json") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe{}", b'{"a": ', b"\x00" * 10, b"[" * 100_000, b"nonsense", b'{"a": 1} {"b": 2}']
)
def test_a_damaged_file_is_a_state_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(StateError) as caught:
        read_json(path)
    assert caught.value.code == "FILE_UNREADABLE"
    assert str(path) in caught.value.sentence
    assert caught.value.remedy


def test_a_folder_in_place_of_a_file_is_a_state_error(tmp_path: Path) -> None:
    with pytest.raises(StateError):
        read_json(tmp_path)


def test_a_files_signature_changes_with_its_content_and_when_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = [signature_of(path)]
    for text in ("one", "three"):
        write_file(path, text)
        seen.append(signature_of(path))
    assert signature_of(path) == seen[-1]
    path.unlink()
    assert signature_of(path) == seen[0]
    assert len(set(seen)) == 3


def test_a_fifo_or_device_in_place_of_a_document_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("fifo", "endless"):
        with pytest.raises(StateError) as failure:
            read_json(tmp_path / name)
        assert failure.value.code == "FILE_UNREADABLE"
