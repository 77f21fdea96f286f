"""The list commands, which differ in nothing but the type of resource and its columns."""

from collections.abc import Callable
from typing import Any

import click

from arcgate.cli.output import Columns, output_option, show_list
from arcgate.cli.resource_options import list_path
from arcgate.cli.session import Session, run


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a list command its options: resource group, subscription, form of output."""
    command = output_option(command)
    command = click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")(command)
    return click.option("-g", "--resource-group", help="Only of this resource group.")(command)


def show_resources(
    resource_type: str,
    api_version: str,
    columns: Columns,
    *,
    resource_group: str | None,
    subscription: str | None,
    form: str | None,
) -> None:
    """Print all resources of a type in a subscription, or in one of its resource groups."""

    async def work() -> list[Any]:
        session = Session.open()
        path = list_path(await session.find_subscription(subscription), resource_group, resource_type)
        return await session.list_all(path, api_version)

    show_list(run(work()), form, columns)
