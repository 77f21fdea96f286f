"""Files of ours can't be hijacked: by links of others, by pipes, or by rights that anybody has."""

import os
from pathlib import Path

import pytest

from arcgate.core.errors import StateError
from arcgate.net.files import read_json, write_json


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "settings.json"
    write_json(path, {"a": 1})
    return path


def test_our_own_links_are_followed_to_a_file(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "settings.json"
    link.symlink_to("data/settings.json")
    assert read_json(link) == {"a": 1}
    absolute = tmp_path / "absolute.json"
    absolute.symlink_to(file)
    assert read_json(absolute) == {"a": 1}


def test_a_link_of_another_user_is_not_followed(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "settings.json"
    link.symlink_to(file)
    stat = os.fstat
    planted = os.lstat(link).st_ino

    def of_others(descriptor: int) -> os.stat_result:
        found = stat(descriptor)
        return os.stat_result((*found[:4], 4242, *found[5:])) if found.st_ino == planted else found

    monkeypatch.setattr(os, "fstat", of_others)
    with pytest.raises(StateError) as caught:
        read_json(link)
    assert "another user's link" in caught.value.cause


def test_a_link_to_a_link_leads_nowhere(tmp_path: Path, file: Path) -> None:
    (tmp_path / "second.json").symlink_to(file)
    (tmp_path / "first.json").symlink_to("second.json")
    (tmp_path / "round.json").symlink_to("round.json")
    for name in ("first.json", "round.json"):
        with pytest.raises(StateError):
            read_json(tmp_path / name)


def test_a_file_that_everybody_may_write_is_refused(file: Path) -> None:
    file.chmod(0o666)
    with pytest.raises(StateError) as caught:
        read_json(file)
    assert "everybody may write" in caught.value.cause


def test_pipes_and_folders_are_refused_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        with pytest.raises(StateError):
            read_json(tmp_path / name)


def test_a_missing_file_is_none_and_a_dangling_link_too(tmp_path: Path) -> None:
    (tmp_path / "dangling.json").symlink_to("nowhere.json")
    assert read_json(tmp_path / "nothing.json") is None
    assert read_json(tmp_path / "dangling.json") is None


def test_writing_replaces_a_link_and_leaves_what_it_led_to(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "settings.json"
    link.symlink_to(file)
    write_json(link, {"b": 2})
    assert not link.is_symlink()
    assert read_json(file) == {"a": 1}
