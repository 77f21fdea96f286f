"""`azcmagent check`."""

import asyncio

import click

from arcgate.agent.check.command import run
from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.core.errors import ArcgateError
from arcgate.core.names import parse_target


@click.command("check")
@click.option(
    "-l", "--location", default="", metavar="REGION", help="Region to check, before the machine is connected."
)
@click.option("--cloud", "cloud_name", default="", metavar="NAME", help="Cloud to check, before it is connected.")
@click.option("--include-all", is_flag=True, help="Check every exact name that the gateway allows, too.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="HOST[:PORT]", help="Check this, too; repeatable.")
@common_flags
def command(location: str, cloud_name: str, include_all: bool, endpoints: tuple[str, ...]) -> None:
    """Check the network: every endpoint that the agent needs, by the way that it takes."""
    own = invocation()
    try:
        extra = tuple(parse_target(text, 443) for text in endpoints)
        checking = run(
            own.paths, own.environment, location=location, cloud=cloud_name, extra=extra, include_all=include_all
        )
        report = asyncio.run(checking)
    except AzcmError:
        raise
    except ArcgateError as error:
        raise as_azcm(error) from None
    if own.console.is_json:
        own.console.document(report.to_json())
    for line in report.lines():
        own.console.line(line)
    if report.exit_code:
        click.get_current_context().exit(report.exit_code)
