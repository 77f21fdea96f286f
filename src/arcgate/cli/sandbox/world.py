"""The life of a sandbox: temporary state, servers, resources, an onboarded machine; and everything removed again."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcgate.agent.state import read_identity
from arcgate.cli.profile import FOLDER_VARIABLE, ProfileFolder
from arcgate.cli.resource_options import group_path, resource_path
from arcgate.cli.sandbox.first_login import log_in_initial_admin
from arcgate.cli.sandbox.machine import SandboxMachine
from arcgate.cli.sandbox.plan import (
    LOCATION,
    NAME,
    SandboxOptions,
    cloud_definition,
    plan_configuration,
    plan_endpoint_sets,
)
from arcgate.cli.sandbox.programs import program, shell_command
from arcgate.cli.serve_command import start_server
from arcgate.cli.server_plan import Role, ServerPlan, prepare
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, RESOURCES, Session
from arcgate.cli.supervisor import Supervisor
from arcgate.core.errors import StateError
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE, GATEWAY_TYPE
from arcgate.net.listener import has_ipv6_loopback

PATIENCE = 2.0
"""Seconds beyond the drain time-out before a child is killed at the end."""
ROLE = "Owner"
"""Role of the sandbox's service principal: it is for trying everything."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that is ready."""

    folder: Path
    plan: ServerPlan
    supervisor: Supervisor
    session: Session
    machine: SandboxMachine
    gateway: dict[str, Any]
    principal: dict[str, Any]
    machine_id: str

    @property
    def gateway_name(self) -> str:
        """The gateway's host name."""
        return str(self.gateway["properties"]["gatewayEndpoint"])

    @property
    def endpoint(self) -> str:
        """The ARM endpoint, reachable without DNS."""
        return self.session.profile.endpoint

    def arcgate_command(self, *arguments: str) -> str:
        """Return an `arcgate` command of the sandbox's admin, for a shell."""
        environment = {FOLDER_VARIABLE: str(self.session.folder.path)}
        return shell_command((*program("arcgate"), *arguments), environment)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        profile, paths = self.session.profile, self.machine.paths
        return {
            "ready": True,
            "proxy": f"127.0.0.1:{self.machine.proxy_port}",
            "gateway": {
                "address": self.plan.addresses[0],
                "name": self.gateway_name,
                "resourceId": self.gateway["id"],
            },
            "machine": {
                "resourceId": self.machine_id,
                "certificate": str(paths.machine_certificate),
                "key": str(paths.machine_key),
                "metadata": f"http://localhost:{self.machine.metadata_port}",
                "tokens": str(paths.tokens),
            },
            "ca": str(self.plan.configuration.state_dir / "ca.pem"),
            "arm": self.endpoint,
            "login": profile.login,
            "tenantId": profile.tenant_id,
            "subscriptionId": profile.subscription_id,
            "resourceGroup": NAME,
            "clientId": self.principal["clientId"],
            "clientSecret": self.principal["clientSecret"],
            "approveDeviceCode": f'{self.arcgate_command("device", "approve")} "$USER_CODE"',
            "arcgate": self.arcgate_command(),
            "azcmagent": self.machine.command,
            "folder": str(self.folder),
            "pids": {**self.supervisor.pids, "supervisor": [os.getpid()]},
        }


@contextlib.asynccontextmanager
async def sandbox_folder(supervisor: Supervisor) -> AsyncIterator[Path]:
    """Make the temporary folder; at the end stop all children and remove it, whatever has happened."""
    folder = Path(tempfile.mkdtemp(prefix="arcgate-sandbox-"))
    try:
        yield folder
    finally:
        await supervisor.stop(1.0, PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


async def build(folder: Path, options: SandboxOptions, supervisor: Supervisor, progress: Progress) -> Sandbox:
    """Build a sandbox in the folder; raises ArcgateError, saying which step failed."""
    addresses = ("127.0.0.1", "::1") if has_ipv6_loopback() else ("127.0.0.1",)
    plan = prepare(plan_configuration(options, folder / "server", addresses), Role.ALL)
    progress("starting the control plane and the gateway")
    await start_server(supervisor, plan)
    if supervisor.is_stopping:
        raise asyncio.CancelledError
    address = plan.addresses[0]
    endpoint = plan.configuration.url_of("localhost")
    progress("logging in as the first administrator")
    session = await log_in_initial_admin(
        ProfileFolder(folder / "profile"), endpoint, address, plan.configuration.state_dir
    )
    progress("creating resource group, gateway, endpoint sets and a service principal")
    gateway, principal = await _create_resources(session, options)
    machine = SandboxMachine(folder / "machine", default_port=options.default_ports)
    ca_pem = (plan.configuration.state_dir / "ca.pem").read_text(encoding="ascii")
    host = str(gateway["properties"]["gatewayEndpoint"])
    machine.prepare(cloud_definition(plan.configuration, ca_pem, host, address), address, options.enterprise_proxy)
    progress("connecting the machine")
    profile = session.profile
    await machine.connect(
        profile.tenant_id, profile.subscription_id, principal["clientId"], principal["clientSecret"], gateway["id"]
    )
    progress("starting himdsd and Arc Proxy")
    await supervisor.start_all(machine.services())
    await machine.wait_until_at_work()
    return Sandbox(folder, plan, supervisor, session, machine, gateway, principal, _machine_id(machine))


def _machine_id(machine: SandboxMachine) -> str:
    identity = read_identity(machine.paths)
    if identity is None:
        raise StateError("CONNECT_FAILED", "azcmagent connect left no identity.")
    return identity.resource_id


async def _create_resources(session: Session, options: SandboxOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    subscription = session.profile.subscription_id
    await session.put(group_path(subscription, NAME), RESOURCES, {"location": LOCATION})
    for one in plan_endpoint_sets(options):
        properties = {"endpoints": list(one.endpoints), "allowPrivate": one.allow_private, "description": "sandbox"}
        path = resource_path(subscription, NAME, ENDPOINT_SET_TYPE, one.name, "endpoint set")
        await session.put(path, ARCGATE, {"properties": properties})
    gateway = await session.put(
        resource_path(subscription, NAME, GATEWAY_TYPE, NAME, "gateway"),
        HYBRID_COMPUTE,
        {"location": LOCATION, "properties": {"gatewayType": "Public", "allowedFeatures": ["*"]}},
    )
    body = {"displayName": NAME, "role": ROLE, "scope": f"/subscriptions/{subscription}"}
    path = f"/tenants/{session.profile.tenant_id}/providers/Arcgate.Network/servicePrincipals"
    principal = (await session.send("POST", path, ARCGATE, body=body)).json()
    return gateway, principal
