"""`arcgate config`: check, list, example."""

from pathlib import Path

import click

from arcgate.cli.configuration import load_configuration
from arcgate.cli.configuration_reference import render_example
from arcgate.cli.output import Columns, output_option, show_list
from arcgate.cli.settings import Setting, all_settings, to_toml
from arcgate.core.configuration import Configuration

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file. Default: $ARCGATE_CONFIG, else /etc/arcgate/arcgate.toml.",
)

_COLUMNS: Columns = {
    "KEY": lambda row: row["key"],
    "VALUE": lambda row: row["value"],
    "DEFAULT": lambda row: row["default"],
    "MEANING": lambda row: row["description"],
}


@click.group("config")
def config_group() -> None:
    """The server's settings: arcgate.toml and ARCGATE_… variables."""


@config_group.command("check")
@config_option
def check(file: Path | None) -> None:
    """Validate the configuration; every mistake is told with file and line."""
    load_configuration(file)
    click.echo(f"OK: {file or 'the configuration'} is valid.")


@config_group.command("list")
@config_option
@output_option
def list_settings(file: Path | None, form: str | None) -> None:
    """Show every setting with its value in force, its default and its meaning."""
    configuration = load_configuration(file)
    show_list([_row(setting, configuration) for setting in all_settings()], form, _COLUMNS)


def _row(setting: Setting, configuration: Configuration) -> dict[str, str]:
    return {
        "key": setting.key,
        "value": to_toml(setting.value_in(configuration)),
        "default": to_toml(setting.default),
        "description": setting.description,
        "variable": setting.variable,
    }


@config_group.command("example")
def example() -> None:
    """Print a commented arcgate.toml with every setting at its default."""
    click.echo(render_example())
