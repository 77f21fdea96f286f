"""`arcgate endpoint-set`: targets of one's own, named in a gateway's allowed features like a feature."""

from typing import Any

import click

from arcgate.cli.output import at, output_option, show
from arcgate.cli.resource_kinds import ResourceKind
from arcgate.cli.resource_options import (
    SpreadCommand,
    group_option,
    split_values,
)
from arcgate.cli.session import ARCGATE, Session, run
from arcgate.core.patterns import parse_pattern
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE

_COLUMNS = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "ENDPOINTS": at("properties", "endpoints"),
    "PRIVATE": at("properties", "allowPrivate"),
    "DESCRIPTION": at("properties", "description"),
}
ENDPOINT_SETS = ResourceKind(ENDPOINT_SET_TYPE, ARCGATE, "endpoint set", _COLUMNS)
_endpoints_help = "Targets: HOST, *.SUFFIX, ADDRESS or NETWORK, with :PORT unless it is 443."


@click.group("endpoint-set")
def endpoint_set_group() -> None:
    """Targets of your own, for gateways to carry."""


@endpoint_set_group.command("create", cls=SpreadCommand, spread=["--endpoints"])
@ENDPOINT_SETS.name_option
@group_option
@click.option("--endpoints", multiple=True, required=True, metavar="ENDPOINT…", help=_endpoints_help)
@click.option("--allow-private", is_flag=True, help="Also when they resolve to private addresses.")
@click.option("--description", default="", help="What they are.")
@output_option
def create(
    name: str,
    resource_group: str,
    subscription: str | None,
    endpoints: tuple[str, ...],
    allow_private: bool,
    description: str,
    form: str | None,
) -> None:
    """Create an endpoint set, or replace it."""
    properties = {"endpoints": _parse(endpoints), "allowPrivate": allow_private, "description": description}
    show(run(_put(name, resource_group, subscription, properties)), form, _COLUMNS)


@endpoint_set_group.command("update", cls=SpreadCommand, spread=["--endpoints"])
@ENDPOINT_SETS.name_option
@group_option
@click.option("--endpoints", multiple=True, metavar="ENDPOINT…", help=_endpoints_help)
@click.option("--allow-private/--no-allow-private", default=None, help="Also when they resolve to private addresses.")
@click.option("--description", help="What they are.")
@output_option
def update(
    name: str,
    resource_group: str,
    subscription: str | None,
    endpoints: tuple[str, ...],
    allow_private: bool | None,
    description: str | None,
    form: str | None,
) -> None:
    """Change an endpoint set."""
    changes: dict[str, Any] = {"allowPrivate": allow_private, "description": description}
    changes = {key: value for key, value in changes.items() if value is not None}
    if endpoints:
        changes["endpoints"] = _parse(endpoints)
    if not changes:
        raise click.UsageError("say what to change: --endpoints, --allow-private or --description.")

    async def work() -> Any:
        known = await ENDPOINT_SETS.get(name, resource_group, subscription)
        kept = {key: known["properties"][key] for key in ("endpoints", "allowPrivate", "description")}
        return await _put(name, resource_group, subscription, {**kept, **changes})

    show(run(work()), form, _COLUMNS)


def _parse(values: tuple[str, ...]) -> list[str]:
    endpoints = split_values(values)
    for one in endpoints:
        parse_pattern(one)
    return endpoints


async def _put(name: str, group: str, subscription: str | None, properties: dict[str, Any]) -> Any:
    session = Session.open()
    path = await ENDPOINT_SETS.path(session, subscription, group, name)
    return await session.put(path, ARCGATE, {"properties": properties})


ENDPOINT_SETS.add_list_and_show(endpoint_set_group)
ENDPOINT_SETS.add_delete(endpoint_set_group, "gateways stop carrying its targets")
