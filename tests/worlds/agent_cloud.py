"""A real control plane behind TLS on loopback, for agents: it counts requests, and can fail on demand."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arcgate.agent.cloud import Cloud, parse_cloud
from arcgate.agent.connect import Onboarding
from arcgate.agent.connect_request import parse_request
from arcgate.agent.himds.daemon import Daemon
from arcgate.agent.himds.session import World
from arcgate.agent.http import client
from arcgate.agent.login import Credentials
from arcgate.agent.machine_key import KeyKind, now
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import AgentIdentity
from arcgate.agent.surroundings import Surroundings
from arcgate.control.arm.roles import CONTRIBUTOR, Role
from arcgate.control.server import make_server
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target
from arcgate.net.dialer import dial
from arcgate.net.files import write_json
from arcgate.net.http_client import HttpClient
from arcgate.net.listener import listen
from arcgate.net.streams import ByteStream
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import server_context
from worlds.authority import Authority
from worlds.control_plane import PASSWORD, ControlPlane, control_plane

DOMAIN = "arcgate.test"


@dataclass
class Fault:
    """An answer in place of the application's, once the method and a part of the path match."""

    method: str
    part: str
    status: int = 500
    document: Any = None
    has_effect: bool = False
    """Whether the application handles the request all the same: the answer alone is lost."""
    times: int = 1


@dataclass
class Door:
    """ASGI in front of the application."""

    app: ASGIApp
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    on_request: Callable[[str], None] = lambda _line: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = f"{scope['method']} {scope['path']}"
        self.requests.append(line)
        self.on_request(line)
        fault = next((one for one in self.faults if _fits(one, scope)), None)
        if fault is None:
            await self.app(scope, receive, send)
            return
        fault.times -= 1
        if fault.has_effect:
            await self.app(scope, receive, _drop)
        body = json.dumps(fault.document or {"error": {"code": "Broken", "message": "It is broken."}}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": fault.status, "headers": head})
        await send({"type": "http.response.body", "body": body})


def _fits(fault: Fault, scope: Scope) -> bool:
    return fault.times > 0 and fault.method == scope["method"] and fault.part.lower() in scope["path"].lower()


async def _drop(_message: Message) -> None:
    return None


@dataclass
class AgentCloud:
    """The cloud as agents see it, and what tests do to it."""

    plane: ControlPlane
    door: Door
    port: int
    cloud: Cloud
    clouds: Path
    is_reachable: bool = True

    async def open_for_agent(self, target: Target) -> ByteStream:
        """Lead every name to the control plane; see `OpensConnections`."""
        if not self.is_reachable:
            raise HopError(Hop.TCP, "TCP_REFUSED", f"{target} refused the connection.")
        return await dial([IPv4Address("127.0.0.1")], self.port, 5)

    @property
    def surroundings(self) -> Surroundings:
        """Nobody inspects TLS here."""
        return Surroundings()

    def is_end_to_end(self, target: Target) -> bool:
        """No gateway is on the way to any target."""
        return False

    def client(self) -> HttpClient:
        """Return a client of the agent's."""
        return client(self, self.cloud.ca_pem)

    def machine(self, folder: Path) -> AgentPaths:
        """Return the files of a new machine."""
        paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(folder), "AZCMAGENT_CLOUDS": str(self.clouds)})
        paths.prepare()
        return paths

    async def credentials(self, role: Role = CONTRIBUTOR) -> Credentials:
        """Return a service principal's credentials."""
        identity = await self.plane.principal(role)
        return Credentials(self.plane.tenant_id, "", identity.principal.login, PASSWORD)

    async def onboard(self, paths: AgentPaths, name: str = "box", key_kind: KeyKind = KeyKind.RSA) -> AgentIdentity:
        """Connect a machine, as `azcmagent connect` does."""
        request = parse_request(
            resource_group="servers",
            location="eastus",
            subscription=self.plane.subscription_id,
            tenant_id=self.plane.tenant_id,
            resource_name=name,
            credentials=await self.credentials(),
            key_kind=key_kind,
        )
        facts = current().facts()
        onboarding = Onboarding(paths, self.cloud, self.client(), facts, now, lambda _text: None, lambda _percent: None)
        return await onboarding.run(request)

    @asynccontextmanager
    async def himdsd(self, paths: AgentPaths, ahead: timedelta = timedelta()) -> AsyncIterator[list[float]]:
        """Run the daemon, with a clock that is ahead of the real one; yield the pauses that it makes."""
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(seconds)

        facts = current().facts()
        world = World(lambda: now() + ahead, random.random, sleep, time.monotonic, facts, dict(os.environ))
        task = spawn("himdsd", Daemon(paths, world, lambda *_: self.client()).run())
        try:
            yield pauses
        finally:
            await cancel(task)

    async def machines(self) -> list[dict[str, Any]]:
        """Return the machine resources."""
        reply = await self.plane.arm("GET", "providers/Microsoft.HybridCompute/machines")
        return list(reply.json()["value"])

    async def associated(self, name: str) -> str:
        """Return the id of a machine's gateway."""
        reply = await self.plane.arm(
            "GET",
            f"resourceGroups/servers/providers/Microsoft.HybridCompute/machines/{name}"
            "/providers/Microsoft.HybridCompute/settings/default",
        )
        return str(reply.json()["properties"]["gatewayProperties"].get("gatewayResourceId") or "")


@asynccontextmanager
async def agent_cloud(folder: Path, authority: Authority, **settings: Any) -> AsyncIterator[AgentCloud]:
    """Yield a cloud over a new state folder."""
    chain, key = authority.issue(f"*.{DOMAIN}", f"*.his.{DOMAIN}")
    clouds = folder / "clouds.d"
    write_json(clouds / "arcgate.json", definition(authority))
    async with control_plane(folder, cloud={"domain": DOMAIN}, **settings) as plane:
        door = Door(plane.app)
        listening = listen("127.0.0.1", 0)
        server = make_server(door, server_context(chain, key), lambda: None, plane.context.changes.close)
        serving = spawn("control plane", server.serve(sockets=[listening]))
        try:
            cloud = parse_cloud(clouds / "arcgate.json")
            yield AgentCloud(plane, door, listening.getsockname()[1], cloud, clouds)
        finally:
            server.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            listening.close()


def definition(authority: Authority) -> dict[str, str]:
    """Return a cloud definition."""
    return {
        "name": "Arcgate",
        "resourceManager": f"https://management.{DOMAIN}",
        "login": f"https://login.{DOMAIN}",
        "his": f"https://gbl.his.{DOMAIN}",
        "packages": f"https://packages.{DOMAIN}",
        "domain": DOMAIN,
        "ca": authority.pem,
        "front": "",
        "address": "",
    }
