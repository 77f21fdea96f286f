"""Settings of extensions on the command line: JSON or files, and secrets in private files alone."""

from pathlib import Path

import click
import pytest

from arcgate.cli.extension_commands import _settings


def test_settings_are_json_or_a_file_of_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"interval": 5}')
    assert _settings("--settings", '{"interval": 5}') == _settings("--settings", f"@{file}") == {"interval": 5}
    assert _settings("--settings", None) is None


@pytest.mark.parametrize("text", ["{", "[1]", "5", "@/nowhere/at/all"])
def test_what_is_no_object_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(click.UsageError, match="--settings"):
        _settings("--settings", text)


def test_protected_settings_come_from_a_private_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "protected.json"
    file.write_text('{"key": "hunter2"}')
    file.chmod(0o644)
    for text in ('{"key": "hunter2"}', f"@{file}"):
        with pytest.raises(click.UsageError) as caught:
            _settings("--protected-settings", text, is_secret=True)
        assert "hunter2" not in str(caught.value)
    file.chmod(0o600)
    assert _settings("--protected-settings", f"@{file}", is_secret=True) == {"key": "hunter2"}
