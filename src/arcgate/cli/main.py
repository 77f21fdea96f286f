"""The command `arcgate`: its groups, and the one place where errors become exit codes."""

import sys

import click

from arcgate import __version__
from arcgate.cli.configuration_commands import config_group
from arcgate.cli.failures import run_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="arcgate")
def arcgate() -> None:
    """Run an Arc gateway of your own, and operate it."""


arcgate.add_command(config_group)


def main() -> None:
    """Run the command line."""
    sys.exit(run_command(arcgate))
