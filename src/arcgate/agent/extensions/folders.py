"""Where extensions live on the machine: /var/opt/azcmagent/extensions, which is root's alone.

extensions/.records.json                 what is known of each; no extension's name begins with a point
extensions/.machine                      whose they are: the machine's id at the time
extensions/<name>/<THUMBPRINT>.{crt,prv} what protected settings are sealed for
extensions/<name>/heartbeat, log/
extensions/<name>/<version>/             the package, config/ and status/
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import StateError
from arcgate.core.extension_goals import is_extension_name
from arcgate.core.extension_lifecycle import Record
from arcgate.core.handler_documents import LARGEST_DOCUMENT
from arcgate.net.files import read_json, write_file, write_json

KEPT_SETTINGS = 3
"""Files of settings and status that stay beside the newest one."""


@dataclass(frozen=True, slots=True)
class HandlerFolders:
    """The folders of one version of one extension."""

    extension: Path
    version: Path

    @property
    def config(self) -> Path:
        """Folder of N.settings."""
        return self.version / "config"

    @property
    def status(self) -> Path:
        """Folder of N.status."""
        return self.version / "status"

    @property
    def log(self) -> Path:
        """Folder of the handler's logs, which all its versions share."""
        return self.extension / "log"

    @property
    def heartbeat(self) -> Path:
        """File of the handler's heartbeat."""
        return self.extension / "heartbeat"

    @property
    def is_there(self) -> bool:
        """Whether the package is unpacked."""
        return (self.version / "HandlerManifest.json").is_file()

    def environment(self) -> dict[str, str]:
        """Return what HandlerEnvironment.json says of them."""
        return {
            "logFolder": str(self.log),
            "configFolder": str(self.config),
            "statusFolder": str(self.status),
            "heartbeatFile": str(self.heartbeat),
        }

    def prepare(self) -> None:
        """Make the folders beside the package's own."""
        for folder in (self.config, self.status, self.log):
            folder.mkdir(mode=0o700, exist_ok=True)

    def forget_old(self) -> None:
        """Remove settings and statuses of long ago."""
        for folder in (self.config, self.status):
            numbered = [path for path in folder.iterdir() if path.stem.isascii() and path.stem.isdigit()]
            for path in sorted(numbered, key=lambda one: int(one.stem))[: -1 - KEPT_SETTINGS]:
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ExtensionFolders:
    """All of them, and the records of what is there."""

    root: Path

    @classmethod
    def of(cls, paths: AgentPaths) -> "ExtensionFolders":
        """Return the folders, made when they are not there; raises StateError (FOLDER_UNSAFE) or OSError."""
        root = paths.home / "extensions"
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StateError(
                "FOLDER_UNSAFE",
                f"{root} must be a folder of the extension service's user that nobody else may write.",
                remedy=f"Look who has changed it, then: chown root:root {root}; chmod 700 {root}",
            )
        return cls(root)

    def handler(self, name: str, version: str) -> HandlerFolders:
        """Return the folders of a version."""
        place = self.root / name.lower()
        return HandlerFolders(place, place / version)

    def remove(self, name: str, version: str = "") -> None:
        """Remove an extension's files, or those of one version."""
        place = self.root / name.lower()
        shutil.rmtree(place / version if version else place, ignore_errors=True)

    def read_records(self) -> dict[str, Record]:
        """Return what is known, by names as the goal wrote them; raises StateError (FILE_UNREADABLE)."""
        document = read_json(self._records)
        try:
            records = {name: Record.from_json(one) for name, one in (document or {}).items()}
            if not all(is_extension_name(name) for name in records):
                raise ValueError("a name is none")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(
                "FILE_UNREADABLE",
                f"{self._records} can't be read.",
                cause=repr(error),
                remedy="Remove it: extensions are then installed anew.",
            ) from None
        return records

    def write_records(self, records: dict[str, Record]) -> None:
        """Store what is known."""
        document: dict[str, Any] = {name: record.to_json() for name, record in sorted(records.items())}
        write_json(self._records, document)

    def is_for(self, machine: str) -> bool:
        """Say whether all that is here was installed for the machine of that id, and take it down for the next time."""
        file = self.root / ".machine"
        before = file.read_text(encoding="ascii", errors="replace") if file.exists() else machine
        if not file.exists() or before != machine:
            write_file(file, machine)
        return before == machine

    @property
    def _records(self) -> Path:
        return self.root / ".records.json"


def read_bounded(path: Path) -> bytes | None:
    """Return a handler's file, None when there is none; raises ValueError on one that is too large, or no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"its file can't be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("its file is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_DOCUMENT + 1)
