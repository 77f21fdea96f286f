"""The command `arcgate`: its groups, and the one place where errors become exit codes."""

import platform
import sys
from pathlib import Path

import click

from arcgate import __version__
from arcgate.agent.commands.completion import SHELLS, completion_script
from arcgate.cli.account_commands import account_group, device_group
from arcgate.cli.audit_commands import audit_command
from arcgate.cli.catalogue_commands import catalogue_group
from arcgate.cli.certificate_commands import certificate_group
from arcgate.cli.configuration_commands import config_group
from arcgate.cli.connection_commands import ssh_command, ssh_proxy_command, tcp_proxy_command
from arcgate.cli.endpoint_set_commands import endpoint_set_group
from arcgate.cli.external_principal_commands import external_principal_group
from arcgate.cli.failures import run_command
from arcgate.cli.firewall_command import firewall_command
from arcgate.cli.gateway_commands import gateway_group
from arcgate.cli.group_commands import group_group
from arcgate.cli.login_commands import login_command, logout_command
from arcgate.cli.machine_commands import machine_group
from arcgate.cli.machine_group_commands import machine_group_group
from arcgate.cli.onboarding_commands import onboarding_script_command
from arcgate.cli.package_commands import packages_group
from arcgate.cli.policy_commands import policy_group
from arcgate.cli.references import pages
from arcgate.cli.sandbox_command import sandbox_command
from arcgate.cli.serve_command import serve_command
from arcgate.cli.service_principal_commands import service_principal_group
from arcgate.cli.setting_commands import setting_group
from arcgate.net.logs import configure_logging
from arcgate.net.standard_streams import fill_standard_streams


class Sections(click.Group):
    """A group that lists its commands under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=200)) for name in names])


SECTIONS = {
    "Try it and run it": ("sandbox", "serve", "config", "certificate"),
    "Log in": ("login", "logout", "account", "device"),
    "Operate": (
        *("group", "gateway", "endpoint-set", "machine", "machine-group", "setting"),
        *("onboarding-script", "service-principal", "external-principal", "audit"),
        *("policy", "catalogue", "packages"),
        *("ssh", "ssh-proxy", "tcp-proxy"),
        "firewall-rules",
    ),
    "About": ("completion", "version"),
}


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="arcgate")
def arcgate() -> None:
    """Run an Arc gateway of your own, and operate it.

    \b
    Begin with:        arcgate sandbox
    Shell completion:  eval "$(arcgate completion bash)"   (or zsh, fish)
    """


@arcgate.command("version")
def version() -> None:
    """Print the version of Arcgate and of what it runs on."""
    click.echo(f"arcgate {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")


@arcgate.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete this command's words: put eval "$(arcgate completion bash)" into ~/.bashrc."""
    click.echo(completion_script(arcgate, "arcgate", shell))


@arcgate.command("references", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def references(folder: Path) -> None:
    """Write the pages of docs/reference that are made from the code."""
    for name, page in pages(arcgate).items():
        (folder / name).write_text(page, encoding="utf-8")


for command in (
    login_command,
    logout_command,
    account_group,
    device_group,
    group_group,
    gateway_group,
    setting_group,
    machine_group,
    onboarding_script_command,
    machine_group_group,
    policy_group,
    packages_group,
    catalogue_group,
    endpoint_set_group,
    service_principal_group,
    external_principal_group,
    audit_command,
    ssh_command,
    ssh_proxy_command,
    tcp_proxy_command,
    firewall_command,
    config_group,
    certificate_group,
    serve_command,
    sandbox_command,
):
    arcgate.add_command(command)


def main() -> None:
    """Run the command line."""
    fill_standard_streams()
    configure_logging("warning")  # to standard error: standard output may be somebody's connection (ssh-proxy)
    sys.exit(run_command(arcgate))
