"""Packages are unpacked below their folder, as plain files, within bounds; whatever else is in them leaves nothing."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

from arcgate.agent.extensions import unpacking
from arcgate.core.errors import InputError


def archive(tmp_path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in entries:
            opened.writestr(name, content)
    path = tmp_path / "package.zip"
    path.write_bytes(raw.getvalue())
    return path


def linux(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def refused(path: Path, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        unpacking.unpack(path, folder)
    assert caught.value.code == "PACKAGE_INVALID"
    assert not folder.exists()
    return caught.value.cause


def test_files_folders_and_programs_are_put_in_place(tmp_path: Path) -> None:
    path = archive(tmp_path, ("lib/", b""), (linux("bin/run", 0o104755), b"#!/bin/sh\n"), ("lib/a b.txt", b"text"))
    unpacking.unpack(path, tmp_path / "out")
    assert (tmp_path / "out/lib/a b.txt").read_bytes() == b"text"
    assert stat.S_IMODE((tmp_path / "out/bin/run").stat().st_mode) & 0o7111 == 0o111
    assert (tmp_path / "out/lib/a b.txt").stat().st_mode & 0o111 == 0


@pytest.mark.parametrize(
    "name", ["../up", "a/../../up", "/etc/passwd", "a//b", "./a", "a/..", "C:\\x", "a\nb", "ünïcode", "x" * 300]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path, ("fine", b"x"), (name, b"x")), tmp_path / "out")
    assert {one.name for one in tmp_path.iterdir()} == {"package.zip"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    cause = refused(archive(tmp_path, (linux("link", kind | 0o777), b"/etc/shadow")), tmp_path / "out")
    assert "link or a special file" in cause


def test_a_file_may_not_come_twice_in_whatever_case(tmp_path: Path) -> None:
    assert "twice" in refused(archive(tmp_path, ("a/File", b"1"), ("a/file", b"2")), tmp_path / "out")


def test_a_file_may_not_be_a_folder_too(tmp_path: Path) -> None:
    refused(archive(tmp_path, ("a", b"1"), ("a/b", b"2")), tmp_path / "out")


def test_number_and_size_are_bounded_also_when_the_heads_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, *((f"f{number}", b"x" * 100) for number in range(10)))
    monkeypatch.setattr(unpacking, "MOST_FILES", 9)
    assert "more than 9 files" in refused(path, tmp_path / "out")
    monkeypatch.setattr(unpacking, "MOST_FILES", 10)
    monkeypatch.setattr(unpacking, "LARGEST_CONTENT", 999)
    assert "more than 999 bytes" in refused(path, tmp_path / "out")
    bomb = archive(tmp_path, ("bomb", b"\0" * 100_000))
    size = (100_000).to_bytes(4, "little")
    bomb.write_bytes(bomb.read_bytes().replace(size, (10).to_bytes(4, "little")))
    refused(bomb, tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "package.zip"
    path.write_bytes(data)
    refused(path, tmp_path / "out")


def test_content_that_was_damaged_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, ("file", b"some content that is long enough to be compressed " * 20))
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("position", [1, 10, 30])
def test_whatever_was_compressed_wrongly_is_refused(tmp_path: Path, method: int, position: int) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as opened:
        opened.writestr("data", bytes(range(256)) * 40)
    data, begin = bytearray(raw.getvalue()), 30 + len("data") + position
    data[begin : begin + 8] = bytes(one ^ 0x5A for one in data[begin : begin + 8])
    (tmp_path / "package.zip").write_bytes(data)
    refused(tmp_path / "package.zip", tmp_path / "out")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, ("n\u00e4me", b"x"))
    path.write_bytes(path.read_bytes().replace("\u00e4".encode(), b"\xff\xff"))
    refused(path, tmp_path / "out")
