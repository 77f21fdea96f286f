"""What the commands of every type of resource do alike: list, show, delete, and find the path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from arcgate.cli.failures import ApiFailure
from arcgate.cli.output import Columns, output_option, show, show_list
from arcgate.cli.resource_options import confirm, group_option, list_path, name_option, resource_path, yes_option
from arcgate.cli.session import Session, run

NOT_FOUND = 404


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

    def add_delete(self, commands: click.Group, effect: str) -> None:
        """Add the command `delete`; its help says the effect."""

        @commands.command("delete", help=f"Delete {self._one}; {effect}.")
        @self.name_option
        @group_option
        @yes_option
        def delete_resource(name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
            confirm(f"Delete the {self.what} {name}?", yes)

            async def work() -> bool:
                session = Session.open()
                path = await self.path(session, subscription, resource_group, name)
                is_there = await self._is_there(session, path)
                await session.delete(path, self.api_version)
                return is_there

            if not run(work()):
                self.tell_absence(name)

    async def _is_there(self, session: Session, path: str) -> bool:
        """Say whether there is one; the answer to DELETE is the same 204, which the original's clients insist on."""
        try:
            await session.get(path, self.api_version)
        except ApiFailure as error:
            return error.status != NOT_FOUND  # whoever may delete need not be allowed to read
        return True

    def tell_absence(self, name: str) -> None:
        """Say that there was nothing to delete: it is no failure, but may be a misspelt name."""
        click.echo(f"There was no {self.what} {name}.", err=True)

    @property
    def _one(self) -> str:
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

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
        @commands.command("show", help=f"Show {self._one}.")
        @self.name_option
        @group_option
        @output_option
        def show_resource(name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
            show(run(self.get(name, resource_group, subscription)), form, self.columns)
