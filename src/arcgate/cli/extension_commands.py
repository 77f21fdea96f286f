"""`arcgate machine extension`: what shall be installed on machines, and what became of it."""

import json
from pathlib import Path
from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show
from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.cli.resource_options import (
    confirm,
    group_option,
    name_option,
    require_name,
    resource_path,
    yes_option,
)
from arcgate.cli.session import HYBRID_COMPUTE, Session, run
from arcgate.core.resource_ids import MACHINE_TYPE

LARGEST_SETTINGS = 256 * 1024
"""Bytes of a file with settings."""

_COLUMNS: Columns = {
    "NAME": at("name"),
    "PUBLISHER": at("properties", "publisher"),
    "TYPE": at("properties", "type"),
    "VERSION": at("properties", "instanceView", "typeHandlerVersion"),
    "STATE": at("properties", "provisioningState"),
    "STATUS": at("properties", "instanceView", "status", "displayStatus"),
    "MESSAGE": at("properties", "instanceView", "status", "message"),
}
_machine = click.option("--machine-name", required=True, help="Name of the machine.")
_name = name_option("--extension-name", what="extension")


@click.group("extension")
def extension_group() -> None:
    """Extensions of a machine."""


@extension_group.command("create")
@_name
@_machine
@group_option
@click.option("--publisher", required=True, help="Publisher, for example Arcgate.")
@click.option("--type", "type_", required=True, help="Type, for example CustomScript.")
@click.option("--type-handler-version", metavar="VERSION", help="Default: the newest version.")
@click.option(
    "--auto-upgrade-minor-version/--no-auto-upgrade-minor-version",
    default=True,
    show_default=True,
    help="Whether a newer version of the same major number will do.",
)
@click.option("--enable-auto-upgrade", is_flag=True, help="Go on to newer versions as they come.")
@click.option("--force-update-tag", help="Another text than before has the extension carried out again.")
@click.option("--settings", metavar="JSON|@FILE", help="Settings, as JSON or from a file.")
@click.option("--protected-settings", metavar="@FILE", help="Settings that the machine alone can read, from a file.")
@output_option
def create(
    name: str, machine_name: str, resource_group: str, subscription: str | None, form: str | None, **rest: Any
) -> None:
    """Have an extension installed on a machine, or change it."""
    properties = {
        "publisher": rest["publisher"],
        "type": rest["type_"],
        "typeHandlerVersion": rest["type_handler_version"],
        "autoUpgradeMinorVersion": rest["auto_upgrade_minor_version"],
        "enableAutomaticUpgrade": rest["enable_auto_upgrade"],
        "forceUpdateTag": rest["force_update_tag"],
        "settings": _settings("--settings", rest["settings"]),
        "protectedSettings": _settings("--protected-settings", rest["protected_settings"], is_secret=True),
    }
    given = {key: value for key, value in properties.items() if value is not None}

    async def work() -> Any:
        session = Session.open()
        machine = await _machine_path(session, subscription, resource_group, machine_name)
        location = (await session.get(machine, HYBRID_COMPUTE))["location"]
        return await session.put(
            _extension_path(machine, name), HYBRID_COMPUTE, {"location": location, "properties": given}
        )

    show(run(work()), form, _COLUMNS)


@extension_group.command("list")
@_machine
@group_option
@output_option
def list_extensions(machine_name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
    """List a machine's extensions."""

    async def work() -> Any:
        session = Session.open()
        machine = await _machine_path(session, subscription, resource_group, machine_name)
        return await session.list_all(f"{machine}/extensions", HYBRID_COMPUTE)

    show(run(work()), form, _COLUMNS)


@extension_group.command("show")
@_name
@_machine
@group_option
@output_option
def show_extension(
    name: str, machine_name: str, resource_group: str, subscription: str | None, form: str | None
) -> None:
    """Show an extension, and what the machine last said of it."""

    async def work() -> Any:
        session = Session.open()
        machine = await _machine_path(session, subscription, resource_group, machine_name)
        return await session.get(_extension_path(machine, name), HYBRID_COMPUTE)

    show(run(work()), form, _COLUMNS)


@extension_group.command("delete")
@_name
@_machine
@group_option
@yes_option
def delete(name: str, machine_name: str, resource_group: str, subscription: str | None, yes: bool) -> None:
    """Have an extension disabled and uninstalled."""
    confirm(f"Delete the extension {name} of the machine {machine_name}?", yes)

    async def work() -> bool:
        session = Session.open()
        machine = await _machine_path(session, subscription, resource_group, machine_name)
        return await session.delete(_extension_path(machine, name), HYBRID_COMPUTE)

    if not run(work()):
        click.echo(f"There was no extension {name}.", err=True)


def _extension_path(machine: str, name: str) -> str:
    return f"{machine}/extensions/{require_name(name, 'extension')}"


async def _machine_path(session: Session, subscription: str | None, group: str, name: str) -> str:
    return resource_path(await session.find_subscription(subscription), group, MACHINE_TYPE, name, "machine")


def _settings(flag: str, text: str | None, *, is_secret: bool = False) -> dict[str, Any] | None:
    """Return the settings of an option; raises click.UsageError, which never quotes them."""
    if text is None:
        return None
    if is_secret and not text.startswith("@"):
        raise click.UsageError(
            f"{flag} takes @FILE: what stands on the command line can be read by every user of this host."
        )
    content: str | bytes = _read(flag, Path(text[1:]), is_secret) if text.startswith("@") else text
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise click.UsageError(f"{flag} is not JSON.") from None
    if not isinstance(document, dict):
        raise click.UsageError(f"{flag} is no JSON object.")
    return document


def _read(flag: str, path: Path, is_secret: bool) -> bytes:
    try:
        file = read_regular_file(path, LARGEST_SETTINGS)
    except Unreadable as error:
        raise click.UsageError(f"{flag}: {path} {error}.") from None
    if is_secret and file.is_open_to_others:
        raise click.UsageError(f"{flag}: {path} can be read by others; chmod 0600 {path}")
    return file.data
