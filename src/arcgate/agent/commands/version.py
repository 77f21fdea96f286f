"""`azcmagent version`."""

import click

from arcgate import __version__
from arcgate.agent.commands.invocation import common_flags, invocation


@click.command("version")
@common_flags
def command() -> None:
    """Show the agent's version."""
    console = invocation().console
    if console.is_json:
        console.document({"version": __version__})
    console.line(f"azcmagent version {__version__}")
