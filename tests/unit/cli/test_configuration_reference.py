import tomllib
from pathlib import Path

from arcgate.cli.configuration import load_configuration
from arcgate.cli.configuration_reference import render_example
from arcgate.cli.settings import all_settings, to_toml
from arcgate.core.configuration import Configuration


def test_the_example_without_its_comment_signs_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "arcgate.toml"
    file.touch(mode=0o600)
    lines = [
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in render_example().split("\n")
    ]
    file.write_text("\n".join(lines))
    assert load_configuration(file, {}) == Configuration()
    assert len(tomllib.loads(file.read_text())) > 3


def test_every_setting_is_described() -> None:
    assert [setting.key for setting in all_settings() if not setting.description] == []


def test_a_password_in_a_url_is_never_shown() -> None:
    assert to_toml("postgresql://user:secret@host/db") == '"postgresql://***@host/db"'
