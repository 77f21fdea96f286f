"""Documents with a backup: whole at any moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arcgate.agent.stored_document import StoredDocument
from arcgate.core.errors import StateError

WRITER = """
import sys
from pathlib import Path
from arcgate.agent.stored_document import StoredDocument
stored = StoredDocument(Path(sys.argv[1]), lambda _document: 0o600)
number = 0
while True:
    number += 1
    stored.write({"number": number, "padding": "x" * 60_000})
    print(number, flush=True)
"""


def _stored(tmp_path: Path) -> StoredDocument:
    return StoredDocument(tmp_path / "document.json", lambda _document: 0o600)


def test_there_is_nothing_before_the_first_write(tmp_path: Path) -> None:
    assert _stored(tmp_path).read() is None


def test_the_backup_stands_in_even_when_it_cannot_be_copied_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = _stored(tmp_path)
    stored.write({"a": 1})
    stored.path.write_text("damaged")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("arcgate.agent.stored_document.write_json", refuse)
    assert stored.read() == {"a": 1}


def test_removing_leaves_neither_file_nor_backup(tmp_path: Path) -> None:
    stored = _stored(tmp_path)
    stored.write({"a": 1})
    stored.remove()
    assert stored.read() is None
    assert not stored.backup.exists()


def test_a_missing_file_with_a_backup_is_a_missing_file(tmp_path: Path) -> None:
    stored = _stored(tmp_path)
    stored.write({"a": 1})
    stored.path.unlink()
    assert stored.read() is None


def test_a_change_of_an_unreadable_document_changes_nothing(tmp_path: Path) -> None:
    stored = _stored(tmp_path)
    stored.path.write_text("damaged")
    with pytest.raises(StateError):
        stored.change(lambda document: {**document, "b": 2})
    assert stored.path.read_text() == "damaged"


@pytest.mark.parametrize("writes", [1, 2, 5, 9])
def test_a_writer_that_is_killed_leaves_whole_files(tmp_path: Path, writes: int) -> None:
    stored = _stored(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(stored.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(writes):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    for path in (stored.path, stored.backup):
        document = json.loads(path.read_text())
        assert document["number"] >= writes - 1
        assert len(document["padding"]) == 60_000
