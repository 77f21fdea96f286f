"""`arcgate group`: resource groups."""

from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show, show_list
from arcgate.cli.resource_options import (
    SpreadCommand,
    confirm,
    group_path,
    name_option,
    no_wait_option,
    parse_tags,
    yes_option,
)
from arcgate.cli.session import RESOURCES, Session, run

_COLUMNS: Columns = {
    "NAME": at("name"),
    "LOCATION": at("location"),
    "STATE": at("properties", "provisioningState"),
}
_subscription_option = click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
_group_name = name_option("-g", "--resource-group", what="resource group")


@click.group("group")
def group_group() -> None:
    """Resource groups."""


@group_group.command("create", cls=SpreadCommand, spread=["--tags"])
@_group_name
@click.option("-l", "--location", required=True, help="Location, for example eastus.")
@click.option("--tags", multiple=True, metavar="KEY=VALUE", help="Tags.")
@_subscription_option
@output_option
def create(name: str, location: str, tags: tuple[str, ...], subscription: str | None, form: str | None) -> None:
    """Create a resource group, or change its tags."""

    async def work() -> Any:
        session = Session.open()
        path = group_path(await session.find_subscription(subscription), name)
        return await session.put(path, RESOURCES, {"location": location, "tags": parse_tags(tags)})

    show(run(work()), form, _COLUMNS)


@group_group.command("list")
@_subscription_option
@output_option
def list_groups(subscription: str | None, form: str | None) -> None:
    """List resource groups."""

    async def work() -> list[Any]:
        session = Session.open()
        path = f"/subscriptions/{await session.find_subscription(subscription)}/resourcegroups"
        return await session.list_all(path, RESOURCES)

    show_list(run(work()), form, _COLUMNS)


@group_group.command("show")
@_group_name
@_subscription_option
@output_option
def show_group(name: str, subscription: str | None, form: str | None) -> None:
    """Show a resource group."""

    async def work() -> Any:
        session = Session.open()
        return await session.get(group_path(await session.find_subscription(subscription), name), RESOURCES)

    show(run(work()), form, _COLUMNS)


@group_group.command("delete")
@_group_name
@_subscription_option
@yes_option
@no_wait_option
def delete(name: str, subscription: str | None, yes: bool, no_wait: bool) -> None:
    """Delete a resource group with everything in it."""
    confirm(f"Delete the resource group {name} and everything in it?", yes)

    async def work() -> None:
        session = Session.open()
        path = group_path(await session.find_subscription(subscription), name)
        await session.delete(path, RESOURCES, wait=not no_wait)

    run(work())
