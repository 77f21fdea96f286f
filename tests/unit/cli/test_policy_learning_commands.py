"""Files that are given as drafts."""

from pathlib import Path

import pytest

from arcgate.cli.failures import EXIT_FAILED, run_command
from arcgate.cli.main import arcgate


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff{", b"[" * 100_000, b'{"gateway": 1}', b"{}"])
@pytest.mark.parametrize("words", [("apply", "--yes"), ("replay",)])
def test_what_is_no_draft_is_told_with_the_way_to_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: tuple[str, ...]
) -> None:
    file = tmp_path / "draft.json"
    file.write_bytes(content)
    assert run_command(arcgate, ["policy", *words, str(file)]) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.startswith("ERROR: (DRAFT_INVALID) ")
    assert "arcgate policy propose" in said
