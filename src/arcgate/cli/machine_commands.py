"""`arcgate machine`: connected machines."""

from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show
from arcgate.cli.resource_lists import list_options, show_resources
from arcgate.cli.resource_options import confirm, group_option, name_option, resource_path, yes_option
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session, run
from arcgate.core.resource_ids import MACHINE_TYPE

_COLUMNS: Columns = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "LOCATION": at("location"),
    "STATUS": at("properties", "status"),
    "LAST CHANGE": at("properties", "lastStatusChange"),
    "AGENT": at("properties", "agentVersion"),
    "SYSTEM": at("properties", "osName"),
}
_name = name_option("--machine-name", what="machine")


@click.group("machine")
def machine_group() -> None:
    """Connected machines."""


@machine_group.command("list")
@list_options
def list_machines(resource_group: str | None, subscription: str | None, form: str | None) -> None:
    """List machines."""
    show_resources(
        MACHINE_TYPE, HYBRID_COMPUTE, _COLUMNS, resource_group=resource_group, subscription=subscription, form=form
    )


@machine_group.command("show")
@_name
@group_option
@output_option
def show_machine(name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
    """Show a machine."""

    async def work() -> Any:
        session = Session.open()
        return await session.get(await _path(session, subscription, resource_group, name), HYBRID_COMPUTE)

    show(run(work()), form, _COLUMNS)


@machine_group.command("delete")
@_name
@group_option
@yes_option
def delete(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Delete a machine's resource; its certificate stops working at once."""
    confirm(f"Delete the machine {name}?", yes)

    async def work() -> None:
        session = Session.open()
        await session.delete(await _path(session, subscription, resource_group, name), HYBRID_COMPUTE)

    run(work())


@machine_group.command("revoke")
@_name
@group_option
@yes_option
def revoke(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Revoke a machine's certificate; its open tunnels are cut."""
    confirm(f"Revoke the certificate of the machine {name}?", yes)

    async def work() -> None:
        session = Session.open()
        path = await _path(session, subscription, resource_group, name)
        await session.send("POST", f"{path}/revokeCertificate", ARCGATE)

    run(work())
    click.echo(f"The certificate of {name} is revoked.")


async def _path(session: Session, subscription: str | None, group: str, name: str) -> str:
    return resource_path(await session.find_subscription(subscription), group, MACHINE_TYPE, name, "machine")
