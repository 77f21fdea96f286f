"""`arcgate machine-group`: machines by their tags, and what they may of what their gateway allows."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from arcgate.cli.output import at, output_option, show
from arcgate.cli.resource_kinds import ResourceKind
from arcgate.cli.resource_options import (
    SpreadCommand,
    group_option,
    parse_tags,
    refuse_expanded_star,
    split_values,
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
_LIMITS = {
    "tunnels": ("--tunnels", "Tunnels that a machine may have open at a time."),
    "setUpsPerSecond": ("--set-ups-per-second", "Tunnels that it may open in a second."),
    "bytesPerSecond": ("--bytes-per-second", "Bytes that it may carry in a second."),
    "dailyBytes": ("--daily-bytes", "Bytes that it may carry in a day (UTC)."),
}
_SPREAD = ["--tags", "--allowed-features", "--audited-features"]


@click.group("machine-group")
def machine_group_group() -> None:
    """Machines with certain tags, narrowed and limited together."""


def _property_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each property; those that were not given are None or empty."""
    for name, (flag, text) in reversed(_LIMITS.items()):
        command = click.option(flag, name, type=click.IntRange(0), help=text)(command)
    for decorate in (
        click.option("--description", help="What they are."),
        click.option("--mode", type=click.Choice([*map(str, Mode)]), help="As of gateways; at first enforce."),
        click.option(
            "--audited-features", multiple=True, metavar="NAME…", help="Names carried on trial, recorded as refused."
        ),
        click.option(
            "--allowed-features", multiple=True, metavar="NAME…", help="At first all that the gateway allows."
        ),
        click.option(
            "--tags", multiple=True, metavar="KEY=VALUE", help="Tags of its machines, all of them; VALUE * is any."
        ),
    ):
        command = decorate(command)
    return command


@machine_group_group.command("create", cls=SpreadCommand, spread=_SPREAD)
@MACHINE_GROUPS.name_option
@group_option
@_property_options
@output_option
def create(name: str, resource_group: str, subscription: str | None, form: str | None, **given: Any) -> None:
    """Create a machine group, or replace it. 0 leaves a limit to the node's setting."""
    properties: dict[str, Any] = {
        "tags": {},
        "allowedFeatures": None,
        "auditedFeatures": [],
        "mode": str(Mode.ENFORCE),
        "limits": dict.fromkeys(_LIMITS, 0),
        "description": "",
    }
    show(run(_put(name, resource_group, subscription, _changed(properties, given))), form, _COLUMNS)


@machine_group_group.command("update", cls=SpreadCommand, spread=_SPREAD)
@MACHINE_GROUPS.name_option
@group_option
@_property_options
@output_option
def update(name: str, resource_group: str, subscription: str | None, form: str | None, **given: Any) -> None:
    """Change a machine group; what is not given stays. To empty a list, create the group anew."""

    async def work() -> Any:
        known = (await MACHINE_GROUPS.get(name, resource_group, subscription))["properties"]
        return await _put(name, resource_group, subscription, _changed(known, given))

    if not any(value is not None and value != () for value in given.values()):
        raise click.UsageError("say what to change, for example --allowed-features or --tunnels.")
    show(run(work()), form, _COLUMNS)


def _changed(properties: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with what was given on the command line."""
    allowed = split_values(given["allowed_features"])
    refuse_expanded_star("--allowed-features", allowed)
    lists = {
        "tags": parse_tags(given["tags"]),
        "allowedFeatures": allowed,
        "auditedFeatures": split_values(given["audited_features"]),
    }
    texts = {"mode": given["mode"], "description": given["description"]}
    limits = {name: given[name] for name in _LIMITS}
    return {
        **{name: properties[name] for name in (*lists, *texts)},
        **{name: value for name, value in lists.items() if value},
        **{name: value for name, value in texts.items() if value is not None},
        "limits": {**properties["limits"], **{name: value for name, value in limits.items() if value is not None}},
    }


async def _put(name: str, group: str, subscription: str | None, properties: dict[str, Any]) -> Any:
    session = Session.open()
    path = await MACHINE_GROUPS.path(session, subscription, group, name)
    return await session.put(path, ARCGATE, {"properties": properties})


MACHINE_GROUPS.add_list_and_show(machine_group_group)
MACHINE_GROUPS.add_delete(machine_group_group, "its machines get what their gateway and other groups allow")
