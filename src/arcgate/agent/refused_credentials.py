"""Refusals of credentials by enterprise proxies, in a file of the agent's: its processes take turns at trying.

The file holds no password: a slow digest with a salt tells only whether the credentials are still the same ones.
"""

import hashlib
import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from arcgate.agent.paths import SHARED
from arcgate.agent.platform import current
from arcgate.core.audit import printable
from arcgate.core.credential_pauses import Refusals
from arcgate.core.errors import StateError
from arcgate.net.credential_turns import Credentials
from arcgate.net.files import read_json, signature_of, write_json

ROUNDS = 200_000
"""Of PBKDF2: a tenth of a second, once for each password of a process, and only after a refusal."""
MOST_KEPT = 32
"""Refused credentials in the file; the oldest go first."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """One entry of the file, for people."""

    proxy: str
    user: str
    refusals: Refusals

    def sentence(self) -> str:
        """Return what is known, and when the next try is."""
        return (
            f"{self.proxy} refuses the user '{printable(self.user, 100)}': the password is not sent there again before "
            f"{datetime.fromtimestamp(self.refusals.end, UTC):%Y-%m-%d %H:%M:%S} UTC, unless it changes, so that "
            "the account isn't locked."
        )


@dataclass(slots=True)
class SharedRefused:
    """The file as `net.credential_turns` uses it. `forgives`: what stood there before this process is no hindrance."""

    file: Path
    forgives: bool = False
    rounds: int = ROUNDS
    _signature: tuple[int, ...] = ()
    _salt: bytes = b""
    _entries: dict[str, RefusedEntry] = field(default_factory=dict)
    _digests: dict[tuple[bytes, Credentials], str] = field(default_factory=dict, repr=False)
    _own: set[Credentials] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def look(self, credentials: Credentials) -> Refusals:
        """See `net.credential_turns.Refused`."""
        with self._lock:
            return self._look(credentials)

    def add(self, credentials: Credentials, now: float) -> Refusals:
        """See `net.credential_turns.Refused`."""
        with self._lock:
            return self._add(credentials, now)

    def clear(self, credentials: Credentials) -> None:
        """See `net.credential_turns.Refused`; what the user's former passwords met goes as well."""
        with self._lock:
            self._read()
            mine = [digest for digest, one in self._entries.items() if (one.proxy, one.user) == credentials[:2]]
            for digest in mine:
                del self._entries[digest]
            if mine:
                self._write()

    def _look(self, credentials: Credentials) -> Refusals:
        self._read()
        if not self._entries or (self.forgives and credentials not in self._own):
            return Refusals()
        entry = self._entries.get(self._digest(credentials))
        return entry.refusals if entry is not None else Refusals()

    def _add(self, credentials: Credentials, now: float) -> Refusals:
        self._read()
        self._own.add(credentials)
        self._salt = self._salt or secrets.token_bytes(16)
        digest = self._digest(credentials)
        before = self._entries.pop(digest, None)
        refusals = (before.refusals if before is not None else Refusals()).another(now)
        self._entries[digest] = RefusedEntry(credentials[0], credentials[1], refusals)
        while len(self._entries) > MOST_KEPT:
            self._entries.pop(next(iter(self._entries)))
        self._write()
        return refusals

    def _digest(self, credentials: Credentials) -> str:
        key = self._salt, credentials
        if key not in self._digests:
            text = "\0".join(credentials).encode("utf-8", "surrogateescape")
            self._digests.clear()
            self._digests[key] = hashlib.pbkdf2_hmac("sha256", text, self._salt, self.rounds).hex()
        return self._digests[key]

    def _read(self) -> None:
        signature = signature_of(self.file)
        if signature != self._signature:
            self._signature = signature
            self._salt, self._entries = _read(self.file)

    def _write(self) -> None:
        document = {
            "salt": self._salt.hex(),
            "refused": {
                digest: {"proxy": one.proxy, "user": one.user, "count": one.refusals.count, "at": one.refusals.moment}
                for digest, one in self._entries.items()
            },
        }
        try:
            if self._entries:
                write_json(self.file, document, SHARED)
                current().share(self.file, SHARED)
            else:
                self.file.unlink(missing_ok=True)
        except OSError as error:
            # This process holds to it all the same.
            _log.warning("what a proxy refused can't be stored", file=str(self.file), cause=error.strerror)
        self._signature = signature_of(self.file)


def refused_entries(file: Path) -> tuple[RefusedEntry, ...]:
    """Return what the file says, nothing where it can't be read."""
    return tuple(_read(file)[1].values())


def _read(file: Path) -> tuple[bytes, dict[str, RefusedEntry]]:
    try:
        document = read_json(file)
        if document is None:
            return b"", {}
        return bytes.fromhex(document["salt"]), {
            str(digest): _entry(one) for digest, one in list(document["refused"].items())[:MOST_KEPT]
        }
    except (StateError, KeyError, TypeError, ValueError, AttributeError):
        return b"", {}  # a damaged one costs a try


def _entry(document: Any) -> RefusedEntry:
    count, moment = document["count"], document["at"]
    if type(count) is not int or count < 1 or type(moment) not in {int, float}:
        raise ValueError("no refusal")
    return RefusedEntry(str(document["proxy"])[:300], str(document["user"])[:300], Refusals(count, float(moment)))
