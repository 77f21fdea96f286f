"""Files that must never be half written or readable by others."""

import contextlib
import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from arcgate.core.errors import StateError

LARGEST_DOCUMENT = 256 * 1024 * 1024
"""Bytes of a JSON file; the snapshot of a hundred thousand machines fits."""


def write_file(path: Path, content: bytes | str, mode: int = 0o600) -> None:
    """Replace a file in one step: readers see the old or the new content, whatever happens in between."""
    data = content.encode() if isinstance(content, str) else content
    _make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def write_json(path: Path, document: Any, mode: int = 0o600) -> None:
    """Replace a JSON file in one step; see `write_file`."""
    write_file(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n", mode)


def read_json(path: Path) -> Any:
    """Return a JSON file's document, None when there is no file; raises StateError (FILE_UNREADABLE)."""
    try:
        return json.loads(_read_bounded(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StateError(
            "FILE_UNREADABLE",
            f"{path} can't be read.",
            cause=str(error),
            remedy="Restore the file from its backup beside it, or remove it and do the step that made it again.",
        ) from None


def _read_bounded(path: Path) -> bytes:
    """Return the content of a plain file: others may put something else where several users write."""
    descriptor = _open_unhijacked(path)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & stat.S_IWOTH:
        os.close(descriptor)
        raise OSError("it is no plain file" if not stat.S_ISREG(status.st_mode) else "everybody may write it")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(LARGEST_DOCUMENT + 1)
    if len(data) > LARGEST_DOCUMENT:
        raise OSError(f"it has more than {LARGEST_DOCUMENT} bytes")
    return data


def _open_unhijacked(path: Path) -> int:
    """Open a file; a link counts only as root's or our own, and leads no further than to a file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    # By descriptor, so that nobody changes the link between the look at its owner and the use of it.
    link = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(link).st_uid not in {0, os.geteuid()}:
            raise OSError("it is another user's link")
        return os.open(path.parent / os.readlink("", dir_fd=link), flags)
    finally:
        os.close(link)


def signature_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced, rewritten, removed or closed to us."""
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it for our eyes only; pathlib gives the ones above to everybody."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
