import click

from arcgate.agent.commands.cli import group as azcmagent
from arcgate.cli.command_reference import walk
from arcgate.cli.main import SECTIONS, arcgate

BOTH = [*walk(arcgate, "arcgate"), *walk(azcmagent, "azcmagent")]


def test_every_command_and_every_visible_option_says_what_it_is_for() -> None:
    silent = [
        f"{path} {parameter.name}"
        for path, command in BOTH
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert silent == []
    assert [path for path, command in BOTH if not command.help] == []


def test_every_visible_command_stands_under_one_heading_of_the_help() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(name for name, command in arcgate.commands.items() if not command.hidden)
