"""The agent's log files: whole lines, turned over by size, shared by the services' group, never a reason to stop."""

import contextlib
import os
import time
from pathlib import Path
from typing import TextIO, cast

from arcgate.agent.platform import current

LARGEST_FILE = 10 * 1024 * 1024
"""Bytes after which a log file is turned over."""
KEPT_FILES = 5
"""Files with a number that are kept beside the current one."""
LOOK_AGAIN = 1.0
"""Seconds between looks at whether somebody has moved or removed the file."""
MODE = 0o640
SHARED_MODE = 0o660
"""Where the services have a group: whichever of them began the file, the others go on with it."""

_LOST = b'level=warning msg="lines were lost while the log could not be written" lines=%d\n'


class LogFile:
    """A file to log to, also on `echo` when that is given; has what structlog and logging call.

    A full disk or a missing folder loses lines, and nothing else; how many is told when there is room again.
    """

    def __init__(
        self, path: Path, echo: TextIO | None = None, *, largest: int = LARGEST_FILE, kept: int = KEPT_FILES
    ) -> None:
        self.echo = echo
        self._path = path
        self._largest = largest
        self._kept = kept
        self._descriptor = -1
        self._size = 0
        self._looked = 0.0
        self._lost = 0
        self._is_torn = False
        self._is_closed = False

    def as_text(self) -> TextIO:
        """Return it under the type that loggers ask for."""
        return cast("TextIO", self)

    def write(self, text: str) -> int:
        """Append a line; never raises for a full or broken disk."""
        if self.echo is not None:
            with contextlib.suppress(OSError, ValueError):
                self.echo.write(text)
        if self._is_closed:
            return len(text)
        data = text.encode("utf-8", errors="backslashreplace")
        try:
            self._make_ready(len(data))
            if self._lost:
                data = _LOST % self._lost + data
            if self._is_torn:
                data = b"\n" + data
            written = os.write(self._descriptor, data)
            self._size += written
            self._is_torn = written < len(data)
            self._lost = self._lost + 1 if self._is_torn else 0
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing of the file is buffered."""
        if self.echo is not None:
            with contextlib.suppress(OSError, ValueError):
                self.echo.flush()

    def close(self) -> None:
        """Let go of the file, for good."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make_ready(self, coming: int) -> None:
        now = time.monotonic()
        if self._descriptor >= 0 and now - self._looked > LOOK_AGAIN:
            self._looked = now
            if not self._is_current():
                self._let_go()
        if self._descriptor < 0:
            self._open()
        if self._size and self._size + coming > self._largest:
            self._turn_over()

    def _is_current(self) -> bool:
        try:
            known, here = os.fstat(self._descriptor), self._path.stat()
        except OSError:
            return False
        return (known.st_dev, known.st_ino) == (here.st_dev, here.st_ino)

    def _open(self) -> None:
        # In a folder that several users write, a link would let one of them choose the file that another appends to,
        # and a FIFO would stop it.
        guards = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        mode = SHARED_MODE if current().has_group() else MODE
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | guards, mode)
        with contextlib.suppress(OSError):
            current().share(self._descriptor, mode)
        self._size = os.fstat(self._descriptor).st_size
        self._looked = time.monotonic()

    def _turn_over(self) -> None:
        self._let_go()
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with contextlib.suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
