"""`arcgate onboarding-script`: what an admin runs on a machine to connect it."""

import os
from pathlib import Path

import click

from arcgate.cli.resource_options import group_option, parse_tags
from arcgate.cli.session import ARCGATE, Session, run
from arcgate.core.errors import InputError

SCRIPT_MODE = 0o755


@click.command("onboarding-script")
@click.option("--os", "system", type=click.Choice(["linux", "windows"]), required=True, help="System of the machines.")
@group_option
@click.option("-l", "--location", required=True, help="Location of the machines' resources.")
@click.option(
    "--gateway-id", default="", help="Resource id of the gateway that the machines use from the first byte on."
)
@click.option("--proxy", default="", help="The enterprise proxy, http://HOST:PORT; its password: see ARCGATE_PROXY.")
@click.option("--service-principal", "principal", default="", metavar="CLIENT-ID", help="Sign in as this one.")
@click.option("--secret-file", default="", metavar="PATH", help="Where machines keep the service principal's secret.")
@click.option("--resource-name", default="", help="Name of the resource; default: each machine's host name.")
@click.option("--cloud", default="", help="Name of the cloud on machines; default: the server's.")
@click.option("--tags", multiple=True, metavar="KEY=VALUE", help="Tags of the machines.")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
def onboarding_script_command(
    system: str,
    resource_group: str,
    location: str,
    subscription: str | None,
    gateway_id: str,
    proxy: str,
    principal: str,
    secret_file: str,
    resource_name: str,
    cloud: str,
    tags: tuple[str, ...],
    path: Path | None,
) -> None:
    """Print the script that downloads and installs the agent on a machine and connects it.

    The script holds no secret: the service principal's comes by AZCMAGENT_SERVICE_PRINCIPAL_SECRET, from --secret-file,
    or is asked for; a proxy with a password by ARCGATE_PROXY. A machine that is connected already stays as it is.
    """
    body = {
        "os": system,
        "resourceGroup": resource_group,
        "location": location,
        "gatewayId": gateway_id,
        "proxy": proxy,
        "servicePrincipalId": principal,
        "secretFile": secret_file,
        "resourceName": resource_name,
        "cloud": cloud,
        "tags": parse_tags(tags),
    }

    async def work() -> str:
        session = Session.open()
        where = f"/subscriptions/{await session.find_subscription(subscription)}"
        action = f"{where}/providers/Arcgate.Network/generateOnboardingScript"
        document = (await session.send("POST", action, ARCGATE, body=body)).json()
        return str(document["script"])

    _give(run(work()), path)


def _give(script: str, path: Path | None) -> None:
    if path is None:
        click.echo(script, nl=False)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, SCRIPT_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(script)
    except OSError as error:
        raise InputError("FILE_NOT_WRITTEN", f"{path} can't be written.", cause=error.strerror or "") from None
