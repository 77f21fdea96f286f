"""Challenge files: whoever can read one of them on this machine may have a token.

Files are for those who may read them, and nothing of them is read back: what counts is in memory.
"""

import contextlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from arcgate.agent.paths import SHARED
from arcgate.agent.platform import Audience, Platform, current
from arcgate.core.errors import StateError

LIFE = 60.0
"""Seconds that a challenge may be answered."""
MOST = 256
"""Challenges that are open at once; the oldest goes first, so that asking for many keeps nobody out."""
SUFFIX = ".key"
FOLDER_MODE = 0o750

# Clients take the header apart at "=", and know no quotes.
_REALM = re.compile(r"[!#-<>-\[\]-~]+\Z|[A-Za-z]:\\[ !#-<>-~]+\Z")


@dataclass(frozen=True, slots=True)
class _Challenge:
    path: Path
    content: str
    end: float


@dataclass(slots=True)
class Challenges:
    """The open challenges of one folder. `monotonic` tells seconds."""

    folder: Path
    monotonic: Callable[[], float]
    platform: Platform = field(default_factory=current)
    _open: list[_Challenge] = field(default_factory=list)

    def prepare(self) -> None:
        """Remove what an earlier service left, and close the folder to others; raises OSError."""
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if self.platform.has_group(Audience.PROGRAMS):
            self.platform.share(self.folder, FOLDER_MODE, Audience.PROGRAMS)
        for left in self.folder.glob(f"*{SUFFIX}"):
            left.unlink(missing_ok=True)

    def issue(self) -> str:
        """Make a challenge and return the header that names its file; raises OSError or StateError."""
        path = (self.folder / f"{secrets.token_hex(16)}{SUFFIX}").absolute()
        header = challenge_header(path)
        while len(self._open) >= MOST:
            self._forget(self._open[0])
        challenge = _Challenge(path, secrets.token_urlsafe(48), self.monotonic() + LIFE)
        self._open.append(challenge)
        self._write(challenge)
        return header

    def redeem(self, content: str) -> bool:
        """Say whether the content is that of an open challenge, which is closed by it."""
        self.expire()
        given = content.encode()
        found = [one for one in self._open if hmac.compare_digest(one.content.encode(), given)]
        for one in found:
            self._forget(one)
        return bool(found)

    def expire(self) -> None:
        """Close the challenges that nobody answered in time."""
        now = self.monotonic()
        for one in [one for one in self._open if one.end <= now]:
            self._forget(one)

    def close(self) -> None:
        """Close all challenges."""
        for one in list(self._open):
            self._forget(one)

    def _write(self, challenge: _Challenge) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(challenge.path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(challenge.content)
            file.flush()
            if self.platform.has_group(Audience.PROGRAMS):
                self.platform.share(file.fileno(), SHARED, Audience.PROGRAMS)

    def _forget(self, challenge: _Challenge) -> None:
        self._open.remove(challenge)
        with contextlib.suppress(OSError):  # it is worth nothing any more, whoever keeps it
            challenge.path.unlink(missing_ok=True)


def challenge_header(path: Path) -> str:
    """Return the value of WWW-Authenticate; raises StateError when clients could not read the path from it."""
    if not _REALM.match(str(path)):
        raise StateError(
            "PATH_UNUSABLE",
            f"Clients can't be told of {str(path.parent)!r}.",
            remedy="Use a folder without blanks, quotes and equals signs for AZCMAGENT_HOME.",
        )
    return f"Basic realm={path}"
