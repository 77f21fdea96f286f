"""The agent's log files: appended line by line, bounded by one rotation, never a reason to stop."""

import contextlib
import os
from pathlib import Path
from typing import TextIO, cast

from arcgate.agent.platform import current

LARGEST_LOG = 16 * 1024 * 1024
"""Bytes; a file that has grown beyond is renamed to NAME.1, in place of the one before."""
LOG_MODE = 0o640


class LogFile:
    """A text file to log to, also on standard error when `echo` is given; has what structlog and logging call."""

    def __init__(self, path: Path, echo: TextIO | None = None, largest: int = LARGEST_LOG) -> None:
        self._path = path
        self.echo = echo
        self._largest = largest
        self._file: TextIO | None = None
        self._is_closed = False
        self._open()

    def as_text(self) -> TextIO:
        """Return it under the type that loggers ask for."""
        return cast("TextIO", self)

    def write(self, text: str) -> int:
        """Write a line; a full disk or a vanished folder loses it, and nothing else."""
        if self.echo is not None:
            with contextlib.suppress(OSError, ValueError):
                self.echo.write(text)
        with contextlib.suppress(OSError):
            if self._file is None and not self._is_closed:  # the folder may be there by now
                self._open()
            self._rotate_if_large()
            if self._file is not None:
                self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered longer than a line."""
        with contextlib.suppress(OSError, ValueError):
            if self.echo is not None:
                self.echo.flush()

    def close(self) -> None:
        """Let go of the file, for good."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _rotate_if_large(self) -> None:
        if self._file is None or os.fstat(self._file.fileno()).st_size < self._largest:
            return
        self._let_go()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            # A link in a folder that several users write would let one of them choose the file that we append to.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            # Where the services have a group, whichever of them began the file, the others go on with it.
            mode = 0o660 if current().has_services_group() else LOG_MODE
            descriptor = os.open(self._path, flags, mode)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8", errors="replace", buffering=1)
            current().share(self._path, mode)
