"""`arcgate ssh`, `ssh-proxy` and `tcp-proxy`: connections to machines that have no port open to anybody."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NoReturn

import click

from arcgate.cli.failures import describe
from arcgate.cli.machine_connection import find_machine, open_connection
from arcgate.cli.session import Session, run
from arcgate.cli.standard_stream import StandardStream
from arcgate.core.errors import ArcgateError, InputError, StateError
from arcgate.core.names import parse_target
from arcgate.core.resource_ids import ResourceId
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import SocketStream

SSH_PORT = 22
LAST_BYTES = 5.0
"""Seconds for a connection to end once whoever ran us has gone."""

MOST_OPENING = 8
"""Connections of tcp-proxy that are being opened at once; the machine takes one after the other."""

_DESTINATION = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.+\\-]{0,127})@)?(?P<machine>/[A-Za-z0-9/_.()-]{1,400}|[A-Za-z0-9][A-Za-z0-9_.-]{0,89})\Z",
    re.ASCII,
)
_group = click.option("-g", "--resource-group", help="Where the machine is; needed when two have the same name.")
_subscription = click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
_port = click.IntRange(1, 65_535)


@click.command("ssh")
@click.argument("destination", metavar="[USER@]MACHINE")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- SSH_OPTIONS... COMMAND...]")
@click.option("--port", type=_port, default=SSH_PORT, show_default=True, help="Port of sshd on the machine.")
@_group
@_subscription
def ssh_command(
    destination: str, arguments: tuple[str, ...], port: int, resource_group: str | None, subscription: str | None
) -> NoReturn:
    """Log in to a machine by SSH, through its gateway; it needs OpenSSH's ssh here and sshd there.

    The machine must allow the port: azcmagent config set incomingconnections.ports 22
    """
    user, name = parse_destination(destination)

    async def work() -> ResourceId:
        return await find_machine(Session.open(), name, resource_group, subscription)

    command = ssh_arguments(run(work()), user, port, arguments)
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - ssh becomes this process, with its terminal and signals
    except FileNotFoundError:
        raise StateError("SSH_MISSING", "There is no ssh on this host.", remedy="Install OpenSSH's client.") from None


@click.command("ssh-proxy")
@click.argument("machine")
@click.argument("port", type=_port, default=SSH_PORT)
@_group
@_subscription
def ssh_proxy_command(machine: str, port: int, resource_group: str | None, subscription: str | None) -> None:
    """Connect standard input and output with a port of a machine, for ssh: ProxyCommand arcgate ssh-proxy %n."""

    async def work() -> None:
        session = Session.open()
        found = await find_machine(session, machine, resource_group, subscription)
        connection = await open_connection(session, found, port)
        client = StandardStream()
        loop = asyncio.get_running_loop()
        carrying = loop.create_task(connection.carry(client))  # not spawned: its failure is told here, not logged
        # ssh hangs up on its ProxyCommand at the end of a session: what is under way shall end as it began.
        for number in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(number, _end, client, carrying)
        try:
            await carrying
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # Ctrl-C
        finally:
            await client.close()
        if client.failure is not None:
            raise client.failure  # bytes were lost, by a full disk for one

    run(work())


@click.command("tcp-proxy")
@click.argument("machine")
@click.argument("port", type=_port)
@click.option("--listen", "address", required=True, metavar="127.0.0.1:PORT", help="Where to listen; loopback only.")
@_group
@_subscription
def tcp_proxy_command(
    machine: str, port: int, address: str, resource_group: str | None, subscription: str | None
) -> None:
    """Listen on this host's loopback, and connect whoever comes with a port of a machine; until Ctrl-C.

    For Windows Admin Center: arcgate tcp-proxy MACHINE 6516 --listen 127.0.0.1:6516
    """
    host, own_port = _loopback(address)

    async def work() -> None:
        session = Session.open()
        found = await find_machine(session, machine, resource_group, subscription)
        await _serve(session, found, port, host, own_port)

    run(work())


def _end(client: StandardStream, carrying: "asyncio.Task[None]") -> None:
    client.hang_up()
    asyncio.get_running_loop().call_later(LAST_BYTES, carrying.cancel)


def parse_destination(text: str) -> tuple[str, str]:
    """Return user (empty without one) and machine; raises InputError for what could be an option or more."""
    match = _DESTINATION.match(text)
    if match is None:
        raise InputError(
            "DestinationInvalid",
            f"{text[:80]!a} is not [USER@]MACHINE.",
            remedy="Give the machine's name or resource id; ssh's own options stand behind '--'.",
        )
    return match["user"] or "", match["machine"]


def ssh_arguments(machine: ResourceId, user: str, port: int, arguments: Sequence[str]) -> list[str]:
    """Return the command line of ssh that reaches a machine through us."""
    proxy = shlex.join([sys.executable, "-m", "arcgate.cli", "ssh-proxy", str(machine), str(port)])
    # The machine's own name for its keys: its address is nobody's, and its id changes when it is connected anew.
    alias = f"{machine.name}.{machine.resource_group}.arcgate".lower()
    options = [f"ProxyCommand={proxy.replace('%', '%%')}", f"HostKeyAlias={alias}"]
    words = ["ssh", *(word for option in options for word in ("-o", option)), *(["-l", user] if user else [])]
    ahead, behind = _split(arguments)
    return [*words, *ahead, "--", machine.name, *behind]


_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""Options of ssh that take a value."""


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return ssh's options, and the command behind them."""
    position = 0
    while position < len(arguments) and arguments[position].startswith("-") and arguments[position] != "-":
        word = arguments[position]
        takes = next((at for at, letter in enumerate(word[1:], 1) if letter in _WITH_VALUE), None)
        position += 2 if takes == len(word) - 1 else 1
    return list(arguments[:position]), list(arguments[position:])


def _loopback(text: str) -> tuple[str, int]:
    target = parse_target(text)
    if isinstance(target.host, str) or not ip_address(str(target.host)).is_loopback:
        raise InputError(
            "ListenInvalid",
            f"{text[:80]!a} is not on this host's loopback.",
            remedy="Others would get in with your rights. Give 127.0.0.1:PORT.",
        )
    return str(target.host), target.port


async def _serve(session: Session, machine: ResourceId, port: int, host: str, own_port: int) -> None:
    """Serve clients until a signal says otherwise."""
    opening, over = asyncio.Semaphore(MOST_OPENING), asyncio.Event()

    async def handle(client: SocketStream) -> None:
        try:
            async with opening:
                connection = await open_connection(session, machine, port)
            await connection.carry(client)
        except ArcgateError as error:
            client.abort()
            for line in describe(error):
                click.echo(line, err=True)
        except asyncio.CancelledError:
            client.abort()  # what we cut must not look whole
            raise

    for number in (signal.SIGHUP, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    listener = Listener([listen(host, own_port)], handle)
    listener.start()
    click.echo(f"Listening on {listener.addresses[0]} for port {port} of {machine.name}.", err=True)
    try:
        await over.wait()
    finally:
        await listener.stop(0)
