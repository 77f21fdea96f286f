"""`azcmagent check`."""

import asyncio

import click

from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.errors import as_azcm
from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_target


@click.command("check")
@click.option("--cloud", default="", help="Name of the cloud; default: the machine's, or the only one.")
@click.option("-l", "--location", default="", help="Location to check for; default: the machine's.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="HOST[:PORT]", help="Check this endpoint as well.")
@click.option("--include-all", is_flag=True, help="Check every endpoint that the gateway allows by its full name.")
@click.option("-e", "--extensions", type=click.Choice(["all", "sql"]), help="Check endpoints of extensions as well.")
@click.option("-p", "--enable-pls-check", is_flag=True, help="Accepted; the PRIVATE column is always filled in.")
@common_flags
def command(
    cloud: str,
    location: str,
    endpoints: tuple[str, ...],
    include_all: bool,
    extensions: str | None,
    enable_pls_check: bool,
) -> int:
    """Check the network: every endpoint that the agent needs, by the way that it takes, hop by hop."""
    from arcgate.agent.check.command import run

    own = invocation()
    report = asyncio.run(
        run(
            own.paths,
            own.environment,
            location=location,
            cloud=cloud,
            extra=tuple(_endpoint(text) for text in endpoints),
            include_all=include_all or extensions is not None,
        )
    )
    if own.console.is_json:
        own.console.document(report.to_json())
    for line in report.lines():
        own.console.line(line)
    return report.exit_code


def _endpoint(text: str) -> Target:
    try:
        return parse_target(text, 443)
    except InputError as error:
        raise as_azcm(error, 23) from None
