"""`azcmagent show`."""

import click

from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.errors import AzcmError
from arcgate.agent.machine_key import now
from arcgate.agent.present import read_facts
from arcgate.agent.show import Field, as_document, as_lines, fields_of, select


@click.command("show")
@click.argument("properties", nargs=-1, metavar="[PROPERTY]...")
@click.option("--os", "with_os", is_flag=True, help="Show facts of the operating system as well.")
@common_flags
def command(properties: tuple[str, ...], with_os: bool) -> None:
    """Show this machine's identity and the agent's status; or the named properties alone, by label or JSON key."""
    own = invocation()
    fields = fields_of(read_facts(own.paths, own.environment, own.platform, now()), with_os=with_os)
    shown = _selected(fields, properties)
    if own.console.is_json:
        own.console.document(as_document(shown))
    for line in as_lines(shown):
        own.console.line(line)


def _selected(fields: list[Field], names: tuple[str, ...]) -> list[Field]:
    chosen: list[Field] = []
    for name in names:
        found = select(fields, name)
        if not found:
            raise AzcmError(
                23, f"There is no property {name[:100]!r} to show.", remedy="'azcmagent show' lists all of them."
            )
        chosen += found
    return chosen if names else fields
