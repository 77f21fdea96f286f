"""`azcmagent genkey`."""

import click

from arcgate.agent.commands.connect import command_lock
from arcgate.agent.commands.invocation import common_flags, invocation, needs_privileges
from arcgate.agent.errors import AzcmError
from arcgate.agent.machine_key import KeyKind, MachineKey
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_identity


@click.command("genkey")
@click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.RSA.value,
    show_default=True,
    help="Kind of a new key; ec (P-256) costs less in each handshake.",
)
@common_flags
@needs_privileges
def command(key_type: str) -> None:
    """Make this machine's key ahead of 'connect' and print its public half, for resources that are made elsewhere.

    A key that is here already stays, and its public half is printed; the private one never leaves the machine.
    """
    own = invocation()
    own.prepare()
    with command_lock(own):
        if (known := read_identity(own.paths)) is not None:
            raise AzcmError(
                67,
                f"This machine is connected already, as {known.resource_id}.",
                remedy="Run 'azcmagent disconnect' first, to get a new key.",
            )
        public = _key(own.paths, KeyKind(key_type)).client_public_key
    if own.console.is_json:
        own.console.document({"publicKey": public})
    own.console.line(public)


def _key(paths: AgentPaths, kind: KeyKind) -> MachineKey:
    if paths.machine_key.exists():
        return MachineKey.load(paths.machine_key)
    key = MachineKey.generate(kind)
    try:
        key.store(paths.machine_key)
    except OSError as error:
        raise AzcmError(
            103,
            f"The machine's key can't be written to {paths.machine_key}.",
            cause=error.strerror or str(error),
            remedy="Check the space and the rights there.",
        ) from None
    return key
