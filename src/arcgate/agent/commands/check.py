"""`azcmagent check`."""

import click

from arcgate.agent.commands.invocation import common_flags
from arcgate.agent.errors import AzcmError


@click.command("check")
@common_flags
def command() -> None:
    """Check the network: every endpoint that the agent needs, by the way that it takes."""
    raise AzcmError(3, "This version has no check.")
