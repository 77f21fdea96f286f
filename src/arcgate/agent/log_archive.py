"""The zip file of `azcmagent logs`: logs, configuration and status, without secrets, readable by its owner alone."""

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcgate.agent.errors import AzcmError
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import Platform
from arcgate.agent.redaction import redact_text

LARGEST_FILE = 32 * 1024 * 1024
"""Bytes of one file; of a larger one the end is taken."""
LARGEST_ARCHIVE = 512 * 1024 * 1024
"""Bytes of all files together, before they are compressed; what comes later is left out."""
MOST_FILES = 500
"""Files of one folder."""
NOTES = "notes.txt"


@dataclass(frozen=True, slots=True)
class Source:
    """A file on the machine and its name in the zip."""

    path: Path
    name: str


def sources(paths: AgentPaths, platform: Platform, environment: Mapping[str, str]) -> list[Source]:
    """Return what belongs into the zip; keys, certificates and challenge files never do."""
    found = [
        *(_log_files(paths.layout.log, "log")),
        Source(paths.agent_configuration, "config/agentconfig.json"),
        Source(paths.local_configuration, "config/localconfig.json"),
        Source(paths.goal, "state/goal.json"),
        Source(paths.himds_state, "state/himds.json"),
        Source(paths.arcproxy_state, "state/arcproxy.json"),
    ]
    if not paths.is_moved:
        for folder in platform.log_folders(environment):
            found += _log_files(folder, folder.name)
    return found


def write_archive(output: Path, files: Iterable[Source], texts: Mapping[str, str]) -> list[str]:
    """Write the zip file, which must not exist yet, and return notes on what isn't (all) in it.

    Raises AzcmError 23 when there is something of that name, 101 when it can't be written.
    """
    descriptor = _create(output)
    notes: list[str] = []
    try:
        with os.fdopen(descriptor, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            left = LARGEST_ARCHIVE
            for source in files:
                left -= _add(archive, source, notes, left)
            for name, text in texts.items():
                archive.writestr(name, redact_text(text))
            archive.writestr(NOTES, "\n".join(notes or ["Everything is in this file."]) + "\n")
    except BaseException as error:
        with contextlib.suppress(OSError):
            output.unlink()
        if isinstance(error, OSError):
            raise AzcmError(
                101,
                f"{output} can't be written.",
                cause=error.strerror or "",
                remedy="Name another place with --output.",
            ) from None
        raise
    return notes


def _create(output: Path) -> int:
    try:
        return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AzcmError(23, f"{output} exists already.", remedy="Name another file with --output.") from None
    except OSError as error:
        raise AzcmError(
            101, f"{output} can't be written.", cause=error.strerror or "", remedy="Name another place with --output."
        ) from None


def _log_files(folder: Path, prefix: str) -> list[Source]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [Source(folder / name, f"{prefix}/{name}") for name in names[:MOST_FILES]]


def _add(archive: zipfile.ZipFile, source: Source, notes: list[str], left: int) -> int:
    """Add a file while there is room for it, and return its bytes."""
    if left <= 0:
        notes.append(f"{source.name}: left out, the others have {LARGEST_ARCHIVE} bytes already.")
        return 0
    try:
        content, size = _read(source.path, min(left, LARGEST_FILE))
    except FileNotFoundError:
        notes.append(f"{source.name}: there is no such file.")
        return 0
    except OSError as error:
        notes.append(f"{source.name}: left out, {error.strerror or error}.")
        return 0
    if content is None:
        notes.append(f"{source.name}: left out, it is no plain file.")
        return 0
    if size > len(content):
        notes.append(f"{source.name}: only the last {len(content)} of {size} bytes.")
    archive.writestr(source.name, redact_text(content.decode("utf-8", errors="replace")))
    return len(content)


def _read(path: Path, largest: int) -> tuple[bytes | None, int]:
    """Return the end of a plain file and its size; None for links, pipes and devices, which could lead anywhere."""
    if path.is_symlink():
        return None, 0
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None, 0
        file.seek(max(0, status.st_size - largest))
        return file.read(largest), status.st_size
