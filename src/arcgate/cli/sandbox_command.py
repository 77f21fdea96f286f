"""`arcgate sandbox`: a whole system on this machine, until Ctrl-C."""

import asyncio
import json
import os
from collections.abc import Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from arcgate.cli.failures import EXIT_INTERRUPTED
from arcgate.cli.sandbox.demonstration import demonstrate
from arcgate.cli.sandbox.plan import Network, SandboxOptions
from arcgate.cli.sandbox.world import Sandbox, build, sandbox_folder
from arcgate.cli.supervisor import Supervisor, stopped_by_signals
from arcgate.core.errors import ArcgateError, InputError
from arcgate.core.names import parse_target
from arcgate.core.urls import parse_url
from arcgate.net.logs import configure_logging
from arcgate.net.resolver import SystemResolver
from arcgate.net.tasks import cancel, spawn


@click.command("sandbox")
@click.option("--json", "as_json", is_flag=True, help="When all is ready, print one JSON object on one line.")
@click.option("--once", is_flag=True, help="Send real traffic through all hops, show what it left, and end.")
@click.option("--allow", multiple=True, metavar="HOST:PORT", help="A target to carry, private ones too.")
@click.option("--allow-network", multiple=True, metavar="CIDR", help="A network of yours that targets may lie in.")
@click.option("--enterprise-proxy", metavar="URL", default="", help="Proxy between the machine and the gateway.")
@click.option("--dns", metavar="HOST:PORT", default="", help="DNS server for the gateway.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Gateway workers.")
@click.option(
    "--ports",
    type=click.Choice(["random", "default"]),
    default="random",
    show_default=True,
    help="default: 443 for the server, 40342 and 40343 for the machine.",
)
def sandbox_command(
    as_json: bool,
    once: bool,
    allow: tuple[str, ...],
    allow_network: tuple[str, ...],
    enterprise_proxy: str,
    dns: str,
    workers: int,
    ports: str,
) -> int:
    """Run a whole system on this machine: control plane, gateway, and a connected machine with Arc Proxy.

    Everything is on loopback and below one temporary folder, which is removed at the end. Ctrl-C or SIGTERM ends it.
    """
    options = SandboxOptions(
        allow=tuple(parse_target(one) for one in allow),
        networks=tuple(parse_network(one) for one in allow_network),
        enterprise_proxy=check_proxy(enterprise_proxy),
        dns=check_dns(dns),
        workers=workers,
        default_ports=ports == "default",
    )
    os.umask(0o077)
    configure_logging("warning")
    return asyncio.run(run_sandbox(options, as_json=as_json, once=once))


def parse_network(text: str) -> Network:
    """Return a network; raises InputError (NETWORK_INVALID)."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise InputError(
            "NETWORK_INVALID", f"{text!r} is not a network: {error}.", remedy="Write 10.1.0.0/16."
        ) from None
    if network.prefixlen == 0:
        raise InputError("NETWORK_INVALID", f"{text} is every network there is.", remedy="Name a smaller one.")
    return network


def check_proxy(text: str) -> str:
    """Return the URL of a proxy; raises InputError (URL_INVALID)."""
    if text and parse_url(text).path != "/":
        raise InputError("URL_INVALID", "A proxy's URL has no path.", remedy="Write http://HOST:PORT.")
    return text


def check_dns(text: str) -> str:
    """Return a DNS server; raises InputError (DNS_SERVER_INVALID)."""
    if text:
        SystemResolver(servers=[text])
    return text


async def run_sandbox(options: SandboxOptions, *, as_json: bool, once: bool) -> int:
    """Build, use and remove a sandbox; return the exit code. Raises ArcgateError when a step fails."""
    supervisor = Supervisor()
    with stopped_by_signals(supervisor):
        async with sandbox_folder(supervisor) as folder:
            use = demonstrate(folder, options, supervisor, tell) if once else keep(folder, options, supervisor, as_json)
            work = spawn("sandbox", _outcome(use))
            stopping = spawn("wait for stop", supervisor.wait_for_stop())
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finished = work.done()
            await cancel(work, stopping)
            tell("removing everything")
            supervisor.raise_failure()
            outcome = work.result() if finished else EXIT_INTERRUPTED if once else 0
            if isinstance(outcome, ArcgateError):
                raise outcome
            return outcome


async def _outcome(work: Coroutine[Any, Any, int]) -> int | ArcgateError:
    """Return what a step raised as a value: it is told to the user, and no crash of a task."""
    try:
        return await work
    except ArcgateError as error:
        return error


async def keep(folder: Path, options: SandboxOptions, supervisor: Supervisor, as_json: bool) -> int:
    """Build a sandbox, say so, and wait for the end."""
    sandbox = await build(folder, options, supervisor, tell)
    click.echo(json.dumps(sandbox.to_json()) if as_json else describe(sandbox))
    await supervisor.wait_for_stop()
    return 0


def describe(sandbox: Sandbox) -> str:
    """Return what there is and what to type, on one screen."""
    proxy = f"http://127.0.0.1:{sandbox.machine.proxy_port}"
    lines = [
        "The sandbox is ready. Ctrl-C removes it.",
        "",
        f"  Arc Proxy of the machine   {proxy}",
        f"  gateway                    {sandbox.gateway_name} at {sandbox.plan.addresses[0]}",
        f"  resource manager           {sandbox.endpoint}",
        "",
        "What to type next, in another terminal:",
        "",
        f"  {sandbox.machine.command} show",
        f"  {sandbox.arcgate_command('audit', '--output', 'table')}",
        f"  {sandbox.arcgate_command('gateway', 'list', '--output', 'table')}",
        f"  curl --proxy {proxy} https://management.azure.com/",
    ]
    return "\n".join(lines)


def tell(line: str) -> None:
    """Show progress."""
    click.echo(f"arcgate sandbox: {line}", err=True)
