"""What the resource commands have in common: flags, paths, lists after one flag, and asking before deleting."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import click

from arcgate.core.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_.()-]{1,260}\Z", re.ASCII)


class SpreadCommand(click.Command):
    """A command some of whose options take several values after one flag, as `--tags a=1 b=2`."""

    def __init__(self, *arguments: Any, spread: Iterable[str] = (), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._spread = frozenset(spread)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        return super().parse_args(ctx, spread_values(args, self._spread))


def spread_values(arguments: Iterable[str], spread: frozenset[str]) -> list[str]:
    """Return the arguments with `--flag a b` written as `--flag a --flag b` for the flags in `spread`."""
    result: list[str] = []
    flag, is_first = "", False
    for one in arguments:
        if one.startswith("-"):
            flag, is_first = (one if one in spread else ""), True
        elif flag and not is_first:
            result.append(flag)
        else:
            is_first = False
        result.append(one)
    return result


def split_values(values: Iterable[str]) -> list[str]:
    """Return the items of repeated, space or comma separated values."""
    return [item for value in values for item in re.split(r"[\s,]+", value) if item]


def refuse_expanded_star(flag: str, values: list[str]) -> None:
    """Refuse a list that is exactly the folder's content: the shell has replaced an unquoted star."""
    try:
        here = sorted(name for name in os.listdir() if not name.startswith("."))
    except OSError:
        return
    if values and sorted(values) == here:
        raise click.UsageError(f"the shell has replaced * by the names of the files here. Write {flag} '*'.")


def parse_tags(values: Iterable[str]) -> dict[str, str]:
    """Return KEY=VALUE texts as a dictionary; raises click.UsageError."""
    tags = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key:
            raise click.UsageError(f"--tags takes KEY=VALUE, not {value!r}.")
        tags[key] = text if equals else ""
    return tags


def group_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --resource-group/-g and --subscription."""
    function = click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")(function)
    return click.option("-g", "--resource-group", required=True, help="Name of the resource group.")(function)


def name_option(*flags: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the decorator that adds --name/-n, and other spellings of it."""
    return click.option("-n", "--name", *flags, "name", required=True, help=f"Name of the {what}.")


def yes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --yes/-y."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask.")(function)


def no_wait_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --no-wait."""
    return click.option("--no-wait", is_flag=True, help="Don't wait for the end of the operation.")(function)


def confirm(question: str, yes: bool) -> None:
    """Ask before something is lost; without a terminal to ask on, --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: add --yes.")
    click.confirm(question, abort=True, err=True)


def require_name(name: str, what: str) -> str:
    """Return a resource's name for a path; raises InputError for what can't be one."""
    if not _NAME.match(name) or name in {".", ".."}:
        raise InputError(
            "NameInvalid",
            f"{name[:80]!a} is no name of {'an' if what[0] in 'aeiou' else 'a'} {what}.",
            remedy="Use letters, digits, hyphens, underscores and dots.",
        )
    return quote(name, safe="()")


def group_path(subscription: str, group: str) -> str:
    """Return the path of a resource group."""
    return f"/subscriptions/{subscription}/resourceGroups/{require_name(group, 'resource group')}"


def resource_path(subscription: str, group: str, kind: str, name: str, what: str) -> str:
    """Return the path of a resource of a kind such as Microsoft.HybridCompute/gateways."""
    return f"{group_path(subscription, group)}/providers/{kind}/{require_name(name, what)}"


def list_path(subscription: str, group: str | None, kind: str) -> str:
    """Return the path of a list, of a group's resources or of the whole subscription's."""
    scope = group_path(subscription, group) if group else f"/subscriptions/{subscription}"
    return f"{scope}/providers/{kind}"
