import os
from pathlib import Path

import click
import pytest

from arcgate.cli.secrets_input import LONGEST_SECRET, read_secret, refuse_secret_argument
from arcgate.core.errors import InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("content", [b"hush", b"hush\n", b"hush\r\n"])
def test_the_secret_of_a_file_is_its_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read_secret(str(file), {}) == "hush"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a\nb\n", b"\xef\xbb\xbfhush", b"\xff\xfe", b"x" * (LONGEST_SECRET + 1)]
)
def test_what_is_not_one_line_of_text_is_no_secret(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError):
        read_secret(str(file), {})


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    file.write_bytes(b"hush")
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 0600"):
        read_secret(str(file), {})


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(InputError, match="not a regular file"):
        read_secret(str(tmp_path / "fifo"), {})


def test_the_environment_is_taken_when_no_file_is_named() -> None:
    assert read_secret(None, {"ARCGATE_CLIENT_SECRET": "hush"}) == "hush"


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="no secret"):
        read_secret(None, {})


def test_a_secret_on_the_command_line_is_refused_with_the_alternatives() -> None:
    command = click.Command("login")
    with pytest.raises(click.UsageError) as caught:
        refuse_secret_argument(click.Context(command), click.Option(["-p"]), "hush")
    assert "--password-file" in caught.value.message
    assert "hush" not in caught.value.message
