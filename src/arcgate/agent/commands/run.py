"""`azcmagent run`."""

import asyncio

import click

from arcgate.agent.commands.invocation import common_flags
from arcgate.agent.foreground import own_program, programs_beside, run_services


@click.command("run")
@common_flags
def command() -> int:
    """Run himdsd, arcproxyd and extd in the foreground, for containers and systems without systemd.

    All get SIGTERM when this command gets SIGTERM, SIGINT or SIGHUP, and when one of them ends; the exit code tells
    of the latter.
    """
    return asyncio.run(run_services(programs_beside(own_program())))
