"""`azcmagent extension`: the extensions of this machine."""

import asyncio

import click

from arcgate.agent.commands.invocation import Invocation, common_flags, invocation, needs_privileges
from arcgate.agent.errors import AzcmError
from arcgate.agent.extension_list import HEADINGS, ListedExtension, listed
from arcgate.agent.extension_state import (
    read_extension_statuses,
    read_wanted_extensions,
    write_extension_statuses,
)
from arcgate.agent.extensions.daemon import ExtensionDaemon
from arcgate.agent.state import ServiceLock
from arcgate.core.audit import printable
from arcgate.core.errors import StateError

SERVICE = "extensionservice"


@click.group("extension")
def command() -> None:
    """Show and remove this machine's extensions."""


@command.command("list")
@common_flags
@needs_privileges
def list_extensions() -> None:
    """List the extensions that the cloud wants here, and what has become of them."""
    own = invocation()
    found = _read(own)
    if own.console.is_json:
        own.console.document({"extensions": [one.to_json() for one in found]})
    if not found:
        own.console.line("There are no extensions: the cloud wants none here, and none is installed.")
        return
    rows = [HEADINGS, *(tuple(printable(cell, 200) for cell in one.cells()) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        own.console.line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command("remove")
@click.option("-n", "--name", default="", metavar="NAME", help="Extension to remove.")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all extensions.")
@common_flags
@needs_privileges
def remove_extensions(name: str, everything: bool) -> None:
    """Disable and uninstall extensions, also without the cloud. The extension service must be stopped.

    An extension that the cloud still wants comes back with the service: delete it in the cloud, too.
    """
    own = invocation()
    if bool(name) == everything:
        raise AzcmError(16 if not name else 27, "Give either --name or --all.", remedy="'extension list' shows names.")
    if own.platform.service_state(SERVICE) == "running" and not own.paths.is_moved:
        raise AzcmError(
            72,
            "The extension service is running, and would interfere.",
            remedy=f"Stop it first: systemctl stop {own.platform.services[SERVICE]}",
        )
    gone = [one for one in _read(own) if one.status is not None and (everything or one.name.lower() == name.lower())]
    if not gone and name:
        raise AzcmError(
            23, f"There is no extension {name[:100]!r} on this machine.", remedy="'extension list' shows all."
        )
    _uninstall(own, gone)
    _forget(own, gone)
    _tell(own, gone)


def _read(own: Invocation) -> list[ListedExtension]:
    return listed(read_wanted_extensions(own.paths), read_extension_statuses(own.paths))


def _uninstall(own: Invocation, gone: list[ListedExtension]) -> None:
    if not gone:
        return
    try:
        with ServiceLock(own.paths.extd_lock):
            asyncio.run(ExtensionDaemon(own.paths).remove([one.name for one in gone]))
    except (StateError, OSError) as error:
        cause = error.one_line() if isinstance(error, StateError) else str(error)
        raise AzcmError(72, "The extensions can't be removed.", cause=cause) from None


def _forget(own: Invocation, gone: list[ListedExtension]) -> None:
    names = {one.name.lower() for one in gone}
    kept = [one for one in read_extension_statuses(own.paths) if one.name.lower() not in names]
    try:
        if gone:
            write_extension_statuses(own.paths, kept)
    except OSError as error:
        raise AzcmError(72, "The extensions' state can't be written.", cause=str(error)) from None


def _tell(own: Invocation, gone: list[ListedExtension]) -> None:
    still_wanted = [one.name for one in gone if one.wanted is not None]
    if own.console.is_json:
        own.console.document({"removed": [one.name for one in gone], "stillWanted": still_wanted})
    own.console.line(f"Removed: {', '.join(one.name for one in gone) or 'nothing, for there was nothing'}")
    if still_wanted:
        own.console.line(f"The cloud still wants, and will bring back: {', '.join(still_wanted)}")
