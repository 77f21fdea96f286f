"""`azcmagent license`."""

import click

from arcgate.agent.commands.invocation import common_flags, invocation

NAME, PLACE = "Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"


@click.command("license")
@common_flags
def command() -> None:
    """Show the agent's licence."""
    console = invocation().console
    if console.is_json:
        console.document({"license": NAME, "url": PLACE})
    console.line(f"The agent is licensed under the Apache License, Version 2.0: {PLACE}")
