"""A JSON object on disk with a backup beside it: replaced in one step, changed under a lock, recovered when damaged."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from arcgate.agent.platform import current
from arcgate.core.errors import StateError
from arcgate.net.files import read_json, write_json

_log = structlog.get_logger(__name__)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One JSON object; `mode_of` returns the file mode that a document needs."""

    path: Path
    mode_of: Callable[[Document], int]

    @property
    def backup(self) -> Path:
        """The copy that stands in when the file is damaged."""
        return self.path.with_name(self.path.name + ".bak")

    def read(self) -> Document | None:
        """Return the document, of the backup when the file is damaged; None when there is no file.

        Raises StateError (FILE_UNREADABLE) when neither can be read.
        """
        try:
            return _read_object(self.path)
        except StateError as error:
            with contextlib.suppress(StateError):
                if (saved := _read_object(self.backup)) is not None:
                    _log.warning("a damaged file was replaced by its backup", file=str(self.path))
                    # Whoever may not write (`show` as an ordinary user) still gets the backup's content.
                    with contextlib.suppress(OSError):
                        self._write_one(self.path, saved)
                    return saved
            raise error from None

    def write(self, document: Document) -> None:
        """Replace the file, then the backup: one of both is whole at any moment."""
        self._write_one(self.path, document)
        self._write_one(self.backup, document)

    def change(self, edit: Callable[[Document], Document]) -> Document:
        """Replace the document by `edit` of it, alone among all processes; return the new one."""
        with self.locked():
            changed = edit(self.read() or {})
            self.write(changed)
            return changed

    def remove(self) -> None:
        """Remove the file and its backup."""
        # The backup first: after a kill in between, the whole document is still there.
        self.backup.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock beside the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            current().wait_for_lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _write_one(self, path: Path, document: Document) -> None:
        mode = self.mode_of(document)
        write_json(path, document, mode)
        current().share(path, mode)


def _read_object(path: Path) -> Document | None:
    document = read_json(path)
    if document is None or isinstance(document, dict):
        return document
    raise StateError("FILE_UNREADABLE", f"{path} can't be read.", cause="it holds no JSON object")
