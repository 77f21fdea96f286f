"""`arcgate serve`: the server, all of it on one port or a part of it."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from arcgate.cli.configuration import load_configuration
from arcgate.cli.configuration_commands import config_option
from arcgate.cli.server_plan import Role, ServerPlan, prepare, prepare_state_folder, sole_server
from arcgate.cli.supervisor import Supervisor, stopped_by_signals
from arcgate.core.configuration import Configuration
from arcgate.net.logs import configure_logging


@click.command("serve")
@click.option(
    "--role",
    type=click.Choice([one.value for one in Role]),
    default=Role.ALL.value,
    show_default=True,
    help="What this host runs: everything, a gateway node, or the control plane.",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Say that all is ready as one JSON object on one line.")
def serve_command(role: str, file: Path | None, as_json: bool) -> None:
    """Run the server until SIGTERM or Ctrl-C; open tunnels then get gateway.drain_timeout to end.

    A process that crashes is started again, while its listening sockets stay open. A second Ctrl-C stops at once.
    """
    os.umask(0o077)  # of the children too: whatever they make is for this user alone unless they say otherwise
    configuration = load_configuration(file)
    configure_logging(configuration.log.level, configuration.log.format)
    asyncio.run(serve(configuration, Role(role), as_json=as_json))


async def serve(configuration: Configuration, role: Role, *, as_json: bool) -> None:
    """Run the server until it is asked to stop; raises ArcgateError when it can't start."""
    prepare_state_folder(configuration.state_dir)
    with sole_server(configuration.state_dir, role):
        plan = prepare(configuration, role)
        supervisor = Supervisor()
        try:
            with stopped_by_signals(supervisor):
                await start_server(supervisor, plan)
                if not supervisor.is_stopping:
                    click.echo(json.dumps(readiness(plan, supervisor)) if as_json else banner(plan))
                await supervisor.wait_for_stop()
                supervisor.raise_failure()
        finally:
            await supervisor.stop(configuration.gateway.drain_timeout)
            plan.close()


async def start_server(supervisor: Supervisor, plan: ServerPlan) -> None:
    """Start the children of a plan and wait until they are ready; raises StateError."""
    control = plan.control_child()
    if control is not None:
        # Gateways need the secret and the authorities that the control plane makes at its first start.
        await supervisor.start_all([control])
    if not supervisor.is_stopping:
        await supervisor.start_all(plan.gateway_children())


def readiness(plan: ServerPlan, supervisor: Supervisor) -> dict[str, Any]:
    """Return what `--json` prints."""
    configuration = plan.configuration
    return {
        "ready": True,
        "role": str(plan.role),
        "addresses": plan.addresses,
        "arm": configuration.url_of(f"management.{configuration.cloud.domain}"),
        "login": configuration.url_of(f"login.{configuration.cloud.domain}"),
        "ca": str(configuration.state_dir / "ca.pem"),
        "initialAdmin": str(configuration.state_dir / "secrets" / "initial-admin.json"),
        "pids": {**supervisor.pids, "supervisor": [os.getpid()]},
    }


def banner(plan: ServerPlan) -> str:
    """Return what is reachable where, on one screen."""
    configuration = plan.configuration
    domain, state = configuration.cloud.domain, configuration.state_dir
    rows = [("listening on", ", ".join(plan.addresses))]
    if plan.role is not Role.CONTROL:
        rows += [("gateways", configuration.url_of(f"<prefix>{configuration.gateway_suffix}"))]
    if plan.role is Role.GATEWAY:
        rows += [("control plane", configuration.gateway.control_url)]
    else:
        rows += [
            ("resource manager", configuration.url_of(f"management.{domain}")),
            ("login", configuration.url_of(f"login.{domain}")),
            ("agent service", configuration.url_of(f"gbl.his.{domain}") + f" and <region>.his.{domain}"),
            ("packages", configuration.url_of(f"packages.{domain}")),
            ("authorities", f"{state / 'ca.pem'} (clients must trust them)"),
            ("first admin", f"{state / 'secrets' / 'initial-admin.json'} (user and password)"),
            (
                "next",
                f"arcgate login --endpoint {configuration.url_of(f'management.{domain}')} --ca {state / 'ca.pem'}",
            ),
        ]
    lines = [f"  {name:<17} {value}" for name, value in rows]
    return "\n".join([f"Arcgate is ready ({plan.role}). Ctrl-C stops it.", *lines])
