from pathlib import Path

import click

from arcgate.cli.command_reference import render_commands, walk
from arcgate.cli.main import SECTIONS, arcgate

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "arcgate.md"


def test_the_reference_page_is_up_to_date() -> None:
    # After a change of a command: arcgate command-reference > docs/reference/arcgate.md
    assert REFERENCE.read_text(encoding="utf-8") == render_commands(arcgate)


def test_every_command_and_every_visible_option_says_what_it_is_for() -> None:
    silent = [
        f"{path} {parameter.name}"
        for path, command in walk(arcgate, "arcgate")
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert silent == []
    assert [path for path, command in walk(arcgate, "arcgate") if not command.help] == []


def test_every_visible_command_stands_under_one_heading_of_the_help() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(name for name, command in arcgate.commands.items() if not command.hidden)
