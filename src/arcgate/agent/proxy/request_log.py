"""arcproxy.log: one line for each request, in files that are turned over by size."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from arcgate.core.audit import printable
from arcgate.core.routing import Route, Way
from arcgate.net.relay import Ending, Traffic

LARGEST_FILE = 10 * 1024 * 1024
"""Bytes after which a log file is turned over."""
KEPT_FILES = 5
"""Files with a number that are kept beside the current one."""
MODE = 0o640
LOOK_AGAIN = 1.0
"""Seconds between looks at whether somebody has moved or removed the file."""

_LOST = b'level=warning msg="lines were lost while the log could not be written" lines=%d\n'

_log = structlog.get_logger("arcproxy")


class RotatingFile:
    """A log file as structlog writes it: whole lines, turned over by size; a full disk loses lines, never requests."""

    def __init__(self, path: Path, largest: int = LARGEST_FILE, kept: int = KEPT_FILES) -> None:
        self._path = path
        self._largest = largest
        self._kept = kept
        self._descriptor = -1
        self._size = 0
        self._looked = 0.0
        self._lost = 0
        self._is_torn = False

    def write(self, text: str) -> int:
        """Append a line; never raises for a full or broken disk."""
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
        """Nothing is buffered."""

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make_ready(self, coming: int) -> None:
        now = time.monotonic()
        if self._descriptor >= 0 and now - self._looked > LOOK_AGAIN:
            self._looked = now
            if not self._is_current():
                self.close()
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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor = os.open(self._path, flags, MODE)
        with contextlib.suppress(OSError):
            os.fchmod(self._descriptor, MODE)
        self._size = os.fstat(self._descriptor).st_size
        self._looked = time.monotonic()

    def _turn_over(self) -> None:
        self.close()
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with contextlib.suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request; its story is told once, when it ends."""

    correlation_id: str
    client: str
    clock: Callable[[], float]
    method: str = ""
    target: str = ""
    route: Route | None = None
    gateway: str = ""
    status: int = 0
    """What the client was answered; 0 when it went before."""
    reason: str = ""
    """How it ended: a refusal's code, or the ending of the tunnel."""
    detail: str = ""
    traffic: Traffic = field(default_factory=Traffic)
    started: float = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def log_start(self) -> None:
        """Write the debug line of the beginning."""
        _log.debug("request begins", **self._facts())

    def log_end(self) -> None:
        """Write the line of the request."""
        # A target's own 404 is its affair; what we refused or lost is the admin's.
        was_refused = self.status == 0 or (self.status >= 400 and self.reason != Ending.COMPLETED)
        traffic = {"bytes_up": self.traffic.up, "bytes_down": self.traffic.down}
        facts = {**self._facts(), "gateway": self.gateway, "status": self.status, "reason": self.reason, **traffic}
        if self.detail:
            facts["detail"] = self.detail
        duration = round(max(0.0, self.clock() - self.started), 3)
        write = _log.warning if was_refused else _log.info
        write("request", **{key: _shown(value) for key, value in facts.items()}, duration=duration)

    def _facts(self) -> dict[str, object]:
        way = self.route.way if self.route is not None else Way.REFUSE
        why = self.route.reason if self.route is not None else ""
        return {
            "correlation_id": self.correlation_id,
            "client": self.client,
            "method": self.method,
            "target": _shown(self.target),
            "way": way,
            "why": why,
        }


def shown_target(target: bytes) -> str:
    """Return a request target as it may be logged: queries hold signatures, and user-info passwords."""
    text = target.decode("ascii", errors="backslashreplace").partition("?")[0].partition("#")[0]
    before, at, host = text.rpartition("@")
    return text if not at else f"{before[: before.find('//') + 2] if '//' in before else ''}***@{host}"


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
