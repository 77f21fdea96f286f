"""`azcmagent help`."""

import click

from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.errors import AzcmError


@click.command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@common_flags
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """Help about a command."""
    parent = context.find_root()
    for name in names:
        found = parent.command.get_command(parent, name) if isinstance(parent.command, click.Group) else None
        if found is None:
            raise AzcmError(23, f"There is no command {name[:100]!r}.", remedy="'azcmagent help' lists the commands.")
        parent = click.Context(found, parent=parent, info_name=name)
    console = invocation().console
    if console.is_json:
        console.document({"help": parent.get_help()})
    console.line(parent.get_help())
