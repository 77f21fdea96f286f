"""`arcgate machine-group`: machines by their tags, and what they may of what their gateway allows."""

from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show
from arcgate.cli.resource_lists import list_options, show_resources
from arcgate.cli.resource_options import (
    SpreadCommand,
    confirm,
    group_option,
    name_option,
    parse_tags,
    refuse_expanded_star,
    resource_path,
    split_values,
    yes_option,
)
from arcgate.cli.session import ARCGATE, Session, run
from arcgate.core.policy_settings import Mode
from arcgate.core.resource_ids import MACHINE_GROUP_TYPE

_COLUMNS: Columns = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "TAGS": at("properties", "tags"),
    "ALLOWED FEATURES": at("properties", "allowedFeatures"),
    "MODE": at("properties", "mode"),
    "LIMITS": at("properties", "limits"),
}
_name = name_option("--machine-group-name", what="machine group")
_limit = click.IntRange(0)


@click.group("machine-group")
def machine_group_group() -> None:
    """Machines with certain tags, narrowed and limited together."""


@machine_group_group.command("create", cls=SpreadCommand, spread=["--tags", "--allowed-features", "--audited-features"])
@_name
@group_option
@click.option("--tags", multiple=True, metavar="KEY=VALUE", help="Tags of its machines, all of them; VALUE * is any.")
@click.option("--allowed-features", multiple=True, metavar="NAME…", help="Default: all that the gateway allows.")
@click.option("--audited-features", multiple=True, metavar="NAME…", help="Names carried on trial, recorded as refused.")
@click.option(
    "--mode", type=click.Choice([*map(str, Mode)]), default=str(Mode.ENFORCE), show_default=True, help="As of gateways."
)
@click.option("--tunnels", type=_limit, default=0, help="Tunnels that a machine may have open in a worker.")
@click.option("--set-ups-per-second", type=_limit, default=0, help="Tunnels that it may open in a second.")
@click.option("--bytes-per-second", type=_limit, default=0, help="Bytes that it may carry in a second.")
@click.option("--daily-bytes", type=_limit, default=0, help="Bytes that it may carry in a day (UTC).")
@click.option("--description", default="", help="What they are.")
@output_option
def create(
    name: str,
    resource_group: str,
    subscription: str | None,
    tags: tuple[str, ...],
    allowed_features: tuple[str, ...],
    audited_features: tuple[str, ...],
    form: str | None,
    **rest: Any,
) -> None:
    """Create a machine group, or replace it. 0 leaves a limit to the node's setting."""
    allowed = split_values(allowed_features)
    refuse_expanded_star("--allowed-features", allowed)
    properties = {
        "tags": parse_tags(tags),
        "allowedFeatures": allowed or None,
        "auditedFeatures": split_values(audited_features),
        "mode": rest["mode"],
        "limits": {
            "tunnels": rest["tunnels"],
            "setUpsPerSecond": rest["set_ups_per_second"],
            "bytesPerSecond": rest["bytes_per_second"],
            "dailyBytes": rest["daily_bytes"],
        },
        "description": rest["description"],
    }

    async def work() -> Any:
        session = Session.open()
        return await session.put(
            await _path(session, subscription, resource_group, name), ARCGATE, {"properties": properties}
        )

    show(run(work()), form, _COLUMNS)


@machine_group_group.command("list")
@list_options
def list_groups(resource_group: str | None, subscription: str | None, form: str | None) -> None:
    """List machine groups."""
    show_resources(
        MACHINE_GROUP_TYPE, ARCGATE, _COLUMNS, resource_group=resource_group, subscription=subscription, form=form
    )


@machine_group_group.command("show")
@_name
@group_option
@output_option
def show_group(name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
    """Show a machine group."""

    async def work() -> Any:
        session = Session.open()
        return await session.get(await _path(session, subscription, resource_group, name), ARCGATE)

    show(run(work()), form, _COLUMNS)


@machine_group_group.command("delete")
@_name
@group_option
@yes_option
def delete(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Delete a machine group; its machines get what their gateway and other groups allow."""
    confirm(f"Delete the machine group {name}?", yes)

    async def work() -> None:
        session = Session.open()
        await session.delete(await _path(session, subscription, resource_group, name), ARCGATE)

    run(work())


async def _path(session: Session, subscription: str | None, group: str, name: str) -> str:
    return resource_path(
        await session.find_subscription(subscription), group, MACHINE_GROUP_TYPE, name, "machine group"
    )
