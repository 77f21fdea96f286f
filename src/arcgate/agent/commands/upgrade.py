"""`azcmagent upgrade`."""

import subprocess

import click

from arcgate.agent.commands.connect import SERVICES, command_lock, running_services
from arcgate.agent.commands.interruption import run_interruptible
from arcgate.agent.commands.invocation import Invocation, common_flags, invocation, needs_privileges
from arcgate.agent.http import client
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.agent.upgrade.installation import Installation, find_installation
from arcgate.agent.upgrade.upgrade import Upgrade


@click.command("upgrade")
@click.option("--version", "wanted", default="", metavar="MAJOR.MINOR", help="Version to install; default: the newest.")
@click.option(
    "--cloud", "cloud_name", default="", metavar="NAME", help="Cloud to take it from; default: the machine's."
)
@click.option("--background", is_flag=True, help="Come back at once; the agent's log tells what became of it.")
@common_flags
@needs_privileges
def command(wanted: str, cloud_name: str, background: bool) -> None:
    """Install the newest agent that the cloud offers. What fails on the way leaves the old one running."""
    own = invocation()
    installed = find_installation()
    own.prepare()
    if background:
        _leave(own, installed, wanted, cloud_name)
        return
    with command_lock(own):
        version = _upgrade(own, installed, wanted, cloud_name)
    is_new = version != installed.version
    if is_new:
        _tell_of_restart(own)
    if own.console.is_json:
        own.console.document({"status": "upgraded" if is_new else "upToDate", "version": version})
    own.console.line(f"The agent is {'now' if is_new else 'already'} of version {version}")


def _tell_of_restart(own: Invocation) -> None:
    """The package restarts services of a manager's; others go on with the former version, which is on no disk now."""
    running = running_services(own) if not own.platform.manages_services() else set()
    if former := [program for name, program in SERVICES if name in running]:
        own.console.info(f"Restart what still runs the former version: {', '.join(former)}")


def _leave(own: Invocation, installed: Installation, wanted: str, cloud_name: str) -> None:
    """Start the command once more, away from this terminal."""
    given = (("--version", wanted), ("--cloud", cloud_name))
    words = [word for flag, value in given if value for word in (flag, value)]
    subprocess.Popen(  # noqa: S603 - our own program
        [installed.program, "upgrade", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if own.console.is_json:
        own.console.document({"status": "started", "log": str(own.paths.azcmagent_log)})
    own.console.line(f"The upgrade goes on in the background; {own.paths.azcmagent_log} tells how it ends")


def _upgrade(own: Invocation, installed: Installation, wanted: str, cloud_name: str) -> str:
    cloud = own.cloud(cloud_name)
    http = client(outbound_for_agent(own.paths, own.environment, cloud=cloud), cloud.ca_pem)
    tell, progress = own.console.info, own.console.progress
    upgrade = Upgrade(installed, http, cloud.packages, tell, progress, cloud.package_keys)
    return run_interruptible(upgrade.run(wanted), "Upgrading was cancelled; the agent is what it was.")
