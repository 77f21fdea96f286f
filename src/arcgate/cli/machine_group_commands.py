"""`arcgate machine-group`: machines by their tags, and what they may of what their gateway allows."""

from typing import Any

import click

from arcgate.cli.output import at, output_option, show
from arcgate.cli.resource_kinds import ResourceKind
from arcgate.cli.resource_options import (
    SpreadCommand,
    confirm,
    group_option,
    parse_tags,
    refuse_expanded_star,
    split_values,
    yes_option,
)
from arcgate.cli.session import ARCGATE, Session, run
from arcgate.core.policy_settings import Mode
from arcgate.core.resource_ids import MACHINE_GROUP_TYPE

_COLUMNS = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "TAGS": at("properties", "tags"),
    "ALLOWED FEATURES": at("properties", "allowedFeatures"),
    "MODE": at("properties", "mode"),
    "LIMITS": at("properties", "limits"),
}
MACHINE_GROUPS = ResourceKind(MACHINE_GROUP_TYPE, ARCGATE, "machine group", _COLUMNS)
_limit = click.IntRange(0)


@click.group("machine-group")
def machine_group_group() -> None:
    """Machines with certain tags, narrowed and limited together."""


@machine_group_group.command("create", cls=SpreadCommand, spread=["--tags", "--allowed-features", "--audited-features"])
@MACHINE_GROUPS.name_option
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
        path = await MACHINE_GROUPS.path(session, subscription, resource_group, name)
        return await session.put(path, ARCGATE, {"properties": properties})

    show(run(work()), form, _COLUMNS)


@machine_group_group.command("delete")
@MACHINE_GROUPS.name_option
@group_option
@yes_option
def delete(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Delete a machine group; its machines get what their gateway and other groups allow."""
    confirm(f"Delete the machine group {name}?", yes)

    async def work() -> None:
        session = Session.open()
        await session.delete(await MACHINE_GROUPS.path(session, subscription, resource_group, name), ARCGATE)

    run(work())


MACHINE_GROUPS.add_list_and_show(machine_group_group)
