import contextlib
import os
from pathlib import Path

import pytest

from arcgate.cli.configuration_file import LARGEST_FILE, find_lines, read_configuration_file
from arcgate.core.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arcgate.toml"
    path.touch(mode=0o600)
    return path


def complaint(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_configuration_file(path)
    assert str(path) in caught.value.sentence
    assert caught.value.remedy
    return caught.value


def test_an_empty_file_is_an_empty_document(file: Path) -> None:
    assert read_configuration_file(file).document == {}


def test_carriage_returns_are_harmless(file: Path) -> None:
    file.write_bytes(b"[cloud]\r\nname = 'x'\r\n")
    assert read_configuration_file(file).document == {"cloud": {"name": "x"}}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "absent.toml").sentence


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder" in complaint(tmp_path).sentence


def test_a_loop_of_links_is_no_file(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "symbolic links" in complaint(loop).sentence


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in complaint(fifo).sentence


def test_a_device_is_refused() -> None:
    assert "not a regular file" in complaint(Path("/dev/zero")).sentence


def test_a_file_that_everybody_may_write_is_refused(file: Path) -> None:
    file.chmod(0o666)
    assert "everybody on this host may write" in complaint(file).sentence


def test_a_file_without_end_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * (LARGEST_FILE + 1))
    assert "more than" in complaint(file).sentence


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"\xef\xbb\xbf[cloud]\n", 1, "byte order mark"),
        (b"[cloud]\nname = 'a\x00b'\n", 2, "NUL"),
        (b"[cloud]\nname = '\xe9'\n", 2, "UTF-8"),
        (b"[cloud]\nname = \n", 2, "TOML"),
        (b"[cloud]\nname = 'a'\nname = 'b'\n", 3, "TOML"),
        (b"[cloud\n", 1, "TOML"),
        (b"[listen]\nport = 4_43_\n", 2, "TOML"),
        (b"\n\n[cloud]\nname = 'unfinished", 4, "TOML"),
        (b"x = " + b"9" * 5000, 1, "TOML"),
        (b"a: &a [x, x]\nb: *a\n", 1, "TOML"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(file: Path, content: bytes, line: int, words: str) -> None:
    file.write_bytes(content)
    error = complaint(file)
    assert error.place.line == line
    assert words in error.sentence


def test_brackets_without_end_are_refused(file: Path) -> None:
    file.write_bytes(b"x = " + b"[" * 200_000)
    assert "TOML" in complaint(file).sentence or "nested" in complaint(file).sentence


def test_a_file_cut_anywhere_is_read_or_refused_with_a_line(file: Path) -> None:
    whole = b"[cloud]\nname = 'Arcgate'\nregions = ['eastus', 'westeurope']\n[gateway]\nhosts = { a = '10.0.0.1' }\n"
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with contextlib.suppress(ConfigurationError):
            read_configuration_file(file)
            continue
        assert complaint(file).place.line > 0


def test_every_key_has_its_line() -> None:
    text = '# x\nstate_dir = "/a"\n[cloud]\n\nname = "x"\n"domain" = "y"\n[gateway]\nhosts = { a = "1", b = "2" }\n'
    assert find_lines(text) == {
        ("state_dir",): 2,
        ("cloud",): 3,
        ("cloud", "name"): 5,
        ("cloud", "domain"): 6,
        ("gateway",): 7,
        ("gateway", "hosts"): 8,
        ("gateway", "hosts", "a"): 8,
        ("gateway", "hosts", "b"): 8,
    }


def test_the_place_of_an_unknown_part_is_that_of_its_table(file: Path) -> None:
    file.write_text("\n[cloud]\n")
    place = read_configuration_file(file).place(("cloud", "absent"))
    assert (place.line, place.key) == (2, "cloud.absent")
