"""Unpacks a package of an extension: plain files below one folder, bounded in number and size, nothing else."""

import errno
import os
import re
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from arcgate.core.errors import InputError

MOST_FILES = 20_000
LARGEST_CONTENT = 1024 * 1024 * 1024
"""Bytes of all files together."""
CHUNK = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9 _.,+()@=~-]{1,200}\Z", re.ASCII)
_LINUX = 3
"""What zip calls the system whose file modes an entry has."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder that is not there yet, or leave nothing; raises InputError (PACKAGE_INVALID) or OSError."""
    folder.mkdir(mode=0o700, parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            places = _places(entries)
            for entry, place in zip(entries, places, strict=True):
                _write(opened, entry, folder / place)
    except (InputError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (None, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise _invalid(str(error)) from None  # of the content, not of this machine
        raise
    except Exception as error:  # zipfile lets its decompressors' and decoders' own errors through
        shutil.rmtree(folder, ignore_errors=True)
        raise _invalid(str(error) or type(error).__name__) from None


def _places(entries: list[zipfile.ZipInfo]) -> list[PurePosixPath]:
    """Return where the entries go; raises InputError before anything is written."""
    if len(entries) > MOST_FILES:
        raise _invalid(f"it holds more than {MOST_FILES} files")
    if sum(entry.file_size for entry in entries) > LARGEST_CONTENT:
        raise _invalid(f"its files have more than {LARGEST_CONTENT} bytes")
    places = [_place(entry) for entry in entries]
    # Systems that don't tell cases apart would let one file replace another.
    if len({str(place).lower() for place in places}) != len(places):
        raise _invalid("it holds a file twice")
    return places


def _place(entry: zipfile.ZipInfo) -> PurePosixPath:
    parts = entry.filename.removesuffix("/").split("/")
    if any(not _NAME.match(part) or part in (".", "..") for part in parts):
        raise _invalid(f"the name {entry.filename[:100]!a} leads elsewhere, or has characters that names don't have")
    mode = entry.external_attr >> 16 if entry.create_system == _LINUX else 0
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _invalid(f"{entry.filename[:100]!a} is a link or a special file")
    if entry.flag_bits & 0x1:
        raise _invalid(f"{entry.filename[:100]!a} is encrypted")
    return PurePosixPath(*parts)


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Write one entry; zipfile gives no more of it than the size that was looked at, and checks its sum."""
    if entry.is_dir():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    is_program = entry.create_system == _LINUX and entry.external_attr >> 16 & 0o111
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755 if is_program else 0o644)
    with os.fdopen(descriptor, "wb") as target, opened.open(entry) as source:
        shutil.copyfileobj(source, target, CHUNK)


def _invalid(cause: str) -> InputError:
    return InputError(
        "PACKAGE_INVALID",
        "The extension's package can't be unpacked.",
        cause=cause,
        remedy="Tell the extension's publisher.",
    )
