"""Reads files that people name: regular ones alone, bounded, and never waiting for a FIFO's writer."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path


class Unreadable(Exception):
    """Why a file can't be read, in words that follow its name: `is a folder`."""


@dataclass(frozen=True, slots=True)
class RegularFile:
    """Content, mode bits and owner, all of the same moment."""

    data: bytes
    mode: int
    owner: int

    @property
    def is_open_to_others(self) -> bool:
        """Whether group or others have any right."""
        return bool(self.mode & (stat.S_IRWXG | stat.S_IRWXO))


def read_regular_file(path: Path, largest: int) -> RegularFile:
    """Return a file of at most `largest` bytes; raises Unreadable."""
    try:
        # Without O_NONBLOCK, opening a FIFO that nobody writes to would hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Unreadable(f"can't be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is not a regular file")
        data = _read(descriptor, largest)
    except OSError as error:
        raise Unreadable(f"can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return RegularFile(data, status.st_mode, status.st_uid)


def _read(descriptor: int, largest: int) -> bytes:
    data = b""
    while more := os.read(descriptor, 1024 * 1024):
        data += more
        if len(data) > largest:
            raise Unreadable(f"has more than {largest} bytes")
    return data
