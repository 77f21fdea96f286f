"""A machine with the agent's files in a folder of the test's, its Arc Proxy, and clients and targets beside it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import structlog

from arcgate.agent.log_file import LogFile
from arcgate.agent.loopback import open_sockets
from arcgate.agent.paths import AgentPaths
from arcgate.agent.proxy.service import ArcProxyService
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address, HostName, parse_host
from arcgate.net.dialer import dial
from arcgate.net.files import write_file, write_json
from arcgate.net.listener import Listener, listen
from arcgate.net.logs import configure_logging
from arcgate.net.streams import ByteStream, SocketStream, StreamReset
from worlds.authority import Authority
from worlds.fake_gateway import LOOPBACK, NAME
from worlds.gateway_node import GatewayNode
from worlds.sockets import echo as echo

PATIENCE = 10.0
"""Seconds until what should come is taken for something that never will."""


@dataclass
class TableResolver:
    """Resolves by table; names that aren't in it don't exist."""

    addresses: dict[str, list[Address]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: HostName) -> list[Address]:
        self.asked.append(host)
        if host not in self.addresses:
            raise HopError(
                Hop.DNS,
                "DNS_FAILED",
                f"{host} could not be resolved.",
                cause="the name does not exist",
                remedy="Check the name and the DNS servers of this host.",
            )
        return self.addresses[host]


@dataclass
class AgentMachine:
    """The files of one machine, and its services' view of them."""

    paths: AgentPaths
    cloud_authority: Authority
    resolver: TableResolver = field(default_factory=TableResolver)
    environment: dict[str, str] = field(default_factory=dict)
    service: ArcProxyService | None = None
    port: int = 0
    _revision: int = 0

    def set(self, **settings: Any) -> None:
        """Store settings; dots of their names are written as underscores."""
        known = (
            json.loads(self.paths.local_configuration.read_text()) if self.paths.local_configuration.exists() else {}
        )
        known.update({name.replace("_", "."): value for name, value in settings.items()})
        write_json(self.paths.local_configuration, known)
        self._look()

    def set_goal(self, *allowed: str, port: int = 0, control: tuple[str, ...] = (), host: str = NAME) -> None:
        """Associate the machine with a gateway on a local port; 0 for none."""
        self._revision += 1
        gateway = {"id": "/gateways/one", "host": host, "port": 443} if port else None
        if port:
            self.set(gateway_address=f"127.0.0.1:{port}")
        document = {
            "revision": self._revision,
            "gateway": gateway,
            "allowed": list(allowed),
            "control": list(control),
            "bypass": [],
        }
        write_json(self.paths.goal, document)
        self._look()

    def set_certificate(self, authority: Authority, name: str = "machine-one") -> None:
        """Store a machine certificate."""
        self._keep_certificate(*authority.issue(name, common_name=name))

    def enrol(self, node: GatewayNode) -> tuple[str, str]:
        """Become a machine that a node knows; return its id and the certificate's serial."""
        machine_id = str(uuid4())
        certificate, serial = node.machines.issue(machine_id)
        node.publish_machine(machine_id)
        self._keep_certificate(certificate, certificate)
        return machine_id, serial

    def _keep_certificate(self, chain: Path, key: Path) -> None:
        write_file(self.paths.machine_certificate, chain.read_bytes())
        write_file(self.paths.machine_key, key.read_bytes())
        self._look()

    def set_cloud(self, *, front: str = "", address: str = "") -> None:
        """Store a cloud definition and the identity of a machine that belongs to it."""
        domain = "arcgate.test"
        urls = {
            "resourceManager": f"https://management.{domain}",
            "login": f"https://login.{domain}",
            "his": f"https://gbl.his.{domain}",
            "packages": f"https://packages.{domain}",
        }
        cloud = {"name": "Test", "domain": domain, **urls, "ca": self.cloud_authority.pem}
        write_json(self.paths.clouds / "test.json", {**cloud, "front": front, "address": address})

    def set_identity(self) -> None:
        """Store the identity of a machine that is connected to the cloud."""
        vm_id = "33333333-3333-4333-8333-333333333333"
        identity = {"vmId": vm_id, "cloud": "Test", "location": "eastus", "resourceName": "machine-one"}
        write_json(self.paths.agent_configuration, identity)
        self._look()

    def log_lines(self) -> list[str]:
        """Return the lines of arcproxy.log."""
        return self.paths.arcproxy_log.read_text().split("\n")[:-1]

    def request_lines(self) -> list[str]:
        """Return the lines of arcproxy.log that tell of requests."""
        return [line for line in self.log_lines() if " msg=request " in line]

    async def connect(self) -> SocketStream:
        """Return a client's connection to Arc Proxy."""
        return await dial([LOOPBACK], self.port, 5)  # type: ignore[list-item]

    async def ask(self, request: bytes, *, end: bool = False) -> bytes:
        """Send bytes to Arc Proxy and return all that comes back until it ends."""
        client = await self.connect()
        try:
            await client.send(request)
            if end:
                await client.end()
            return await read_all(client)
        finally:
            await client.close()

    async def tunnel(self, target: str, early: bytes = b"") -> tuple[SocketStream, bytes]:
        """Return a client whose CONNECT was answered with 200, and bytes that came behind the answer (none)."""
        client = await self.connect()
        await client.send(connect_head(target) + early)
        received = b""
        # Byte by byte: what comes behind the answer stays in the socket, for the test to receive.
        while not received.endswith(b"\r\n\r\n"):
            received += await asyncio.get_running_loop().sock_recv(client.socket, 1)
        assert received.startswith(b"HTTP/1.1 200 "), received
        return client, b""

    async def converse(self, target: str, words: bytes = b"words", *, early: bytes = b"") -> None:
        """Have a target that sends everything back return words, and those that come with the CONNECT."""
        client, _ = await self.tunnel(target, early)
        if words:
            await client.send(words)
        await client.end()
        assert await read_all(client) == early + words
        await client.close()

    def _look(self) -> None:
        if self.service is not None:
            self.service.look()


def connect_head(target: str, *fields: str) -> bytes:
    """Return a CONNECT request's head."""
    lines = (f"CONNECT {target} HTTP/1.1", f"Host: {target}", *fields, "", "")
    return "\r\n".join(lines).encode()


async def read_all(stream: ByteStream, limit: float = PATIENCE) -> bytes:
    """Return all bytes until the end; a reset is an end too."""
    received = b""
    async with asyncio.timeout(limit):
        with contextlib.suppress(StreamReset):
            while data := await stream.receive():
                received += data
    return received


def error_of(answer: bytes) -> dict[str, Any]:
    """Return the error of a refusal."""
    return cast("dict[str, Any]", json.loads(answer.partition(b"\r\n\r\n")[2])["error"])


@asynccontextmanager
async def agent_machine(folder: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    """A machine without a gateway whose Arc Proxy runs."""
    paths = AgentPaths.from_environment(
        {"AZCMAGENT_HOME": str(folder / "home"), "AZCMAGENT_CLOUDS": str(folder / "clouds")}
    )
    paths.prepare()
    machine = AgentMachine(paths, authority)
    log = LogFile(paths.arcproxy_log)
    configure_logging("debug", file=log.as_text())
    sockets = _free_sockets()
    machine.port = sockets[0].getsockname()[1]
    machine.set(arcproxy_port=machine.port)
    machine.set_cloud()
    machine.set_identity()
    watch = SurroundingsWatch(paths, machine.environment)
    machine.service = ArcProxyService(paths, watch, machine.resolver, sockets)
    await machine.service.start()
    try:
        yield machine
    finally:
        machine.paths.local_configuration.unlink()  # whatever the test has made of it
        machine.set(arcproxy_timeout_drain=0)
        await machine.service.stop()
        log.close()
        structlog.reset_defaults()


def _free_sockets() -> list[socket.socket]:
    for _ in range(20):
        with contextlib.suppress(Exception):
            return open_sockets(0)
    raise AssertionError("no port is free on both loopback addresses")


@asynccontextmanager
async def target(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A service of the test's own on 127.0.0.1; gives its port."""

    async def serve(stream: SocketStream) -> None:
        with contextlib.suppress(StreamReset):
            await handle(stream)

    listening = listen("127.0.0.1", 0)
    listener = Listener([listening], serve)
    listener.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        await listener.stop(0)


def address(text: str) -> Address:
    """Return an address."""
    host = parse_host(text)
    assert not isinstance(host, str)
    return host
