"""What the commands of every type of resource do alike: list, show, and find the path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from arcgate.cli.output import Columns, output_option, show, show_list
from arcgate.cli.resource_options import group_option, list_path, name_option, resource_path
from arcgate.cli.session import Session, run


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One type of resource, as commands know it."""

    resource_type: str
    api_version: str
    what: str
    """What help calls one, in the singular."""
    columns: Columns

    @property
    def name_option(self) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """The decorator that adds --name, which is --<what>-name as well."""
        return name_option(f"--{self.what.replace(' ', '-')}-name", what=self.what)

    async def path(self, session: Session, subscription: str | None, group: str, name: str) -> str:
        """Return the path of one; raises InputError for a name or subscription that can't be."""
        chosen = await session.find_subscription(subscription)
        return resource_path(chosen, group, self.resource_type, name, self.what)

    async def get(self, name: str, group: str, subscription: str | None) -> Any:
        """Return one as the API shows it; raises ApiFailure."""
        session = Session.open()
        return await session.get(await self.path(session, subscription, group, name), self.api_version)

    def add_list_and_show(self, commands: click.Group) -> None:
        """Add the commands `list` and `show`."""
        self._add_list(commands)
        self._add_show(commands)

    def _add_list(self, commands: click.Group) -> None:
        @commands.command("list", help=f"List {self.what}s.")
        @click.option("-g", "--resource-group", help="Only of this resource group.")
        @click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
        @output_option
        def list_resources(resource_group: str | None, subscription: str | None, form: str | None) -> None:
            async def work() -> list[Any]:
                session = Session.open()
                path = list_path(await session.find_subscription(subscription), resource_group, self.resource_type)
                return await session.list_all(path, self.api_version)

            show_list(run(work()), form, self.columns)

    def _add_show(self, commands: click.Group) -> None:
        article = "an" if self.what[0] in "aeiou" else "a"

        @commands.command("show", help=f"Show {article} {self.what}.")
        @self.name_option
        @group_option
        @output_option
        def show_resource(name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
            show(run(self.get(name, resource_group, subscription)), form, self.columns)
