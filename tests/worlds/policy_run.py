"""A gateway node and a control plane that talk by the node API, and machines that fetch from targets through them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

from arcgate.control.node.secret import load_node_secret
from arcgate.core.policy import Policy
from arcgate.core.snapshot import parse_document
from arcgate.net.dialer import dial
from arcgate.net.streams import ByteStream
from arcgate.wire.heads import ResponseHead
from worlds.asgi import Reply, ask
from worlds.authority import Authority
from worlds.control_plane import GATEWAYS, MACHINES, ControlPlane, control_plane
from worlds.databases import Database
from worlds.gateway_node import Client, GatewayNode, connect_request, gateway_node, read_head, target

ARCGATE = "2026-11-01"
PROVIDER = "providers/Arcgate.Network"


@dataclass
class PolicyRun:
    """One gateway `edge`, machines of it, and a service behind every name that is asked for."""

    control: ControlPlane
    node: GatewayNode
    port: int
    secret: str
    gateway_id: str = ""
    name: str = ""
    machines: dict[str, Client] = field(default_factory=dict)
    sent: int = 0

    async def add_machine(self, name: str, **tags: str) -> None:
        """Connect a machine with tags and associate it."""
        machine_id = str(uuid4())
        body = {"location": "eastus", "tags": tags, "properties": {"vmId": machine_id, "osType": "linux"}}
        assert (await self.control.arm("PUT", f"{MACHINES}/{name}", body)).status == 200
        assert (await self.control.associate(name, self.gateway_id)).status == 200
        certificate, serial = self.node.machines.issue(machine_id, tenant=self.control.tenant_id)
        self.machines[name] = Client(self.node, certificate, machine_id, serial)
        await self.follow()

    async def patch(self, **properties: Any) -> Reply:
        """Change the gateway, and let the node follow."""
        reply = await self.control.arm("PATCH", f"{GATEWAYS}/edge", {"properties": properties})
        await self.follow()
        return reply

    async def put(self, kind: str, name: str, **properties: Any) -> Reply:
        """Put an endpoint set or machine group, and let the node follow."""
        place = f"resourceGroups/servers/{PROVIDER}/{kind}/{name}"
        reply = await self.control.arm("PUT", place, {"properties": properties}, version=ARCGATE)
        await self.follow()
        return reply

    async def ask(self, method: str, name: str, document: Any = None, **query: str) -> Any:
        """Return the answer of a question about the policy."""
        reply = await self.control.arm(method, f"{PROVIDER}/{name}", document, version=ARCGATE, query=query)
        assert reply.status == 200, reply.body
        return reply.json()

    async def apply(self, draft: dict[str, Any]) -> None:
        """Do what `arcgate policy apply` does."""
        for one in draft["endpointSets"]:
            facts = {"endpoints": one["endpoints"], "allowPrivate": one["allowPrivate"]}
            assert (await self.put("endpointSets", one["name"], **facts)).status in {200, 201}
        reply = await self.patch(allowedFeatures=draft["allowedFeatures"], policy=draft["policy"])
        assert reply.status == 200, reply.body

    async def follow(self) -> None:
        """Let the node work by the newest revision, from the node API."""
        reply = await self._node_api("GET", f"snapshot?after={self.node.policy.snapshot.revision}")
        if reply.status == 200:
            snapshot = self.node.policy.snapshot.apply(*parse_document(reply.json()))
            self.node.policy = Policy(snapshot, self.node.policy.catalogue, (ip_network("127.0.0.0/8"),))
            self.node.open_tunnels.check_again(self.node.policy)

    async def send_audit(self) -> None:
        """Let the node send what it has recorded since."""
        records = [record.to_json() for record in self.node.records()][self.sent :]
        self.sent += len(records)
        assert (await self._node_api("POST", "audit", {"records": records})).json()["accepted"] == len(records)

    async def fetch(self, machine: str, authority: str) -> int:
        """Return the status that a machine gets for a CONNECT to a target, which answers when it is reached."""
        stream = await self.machines[machine].open(self.name)
        try:
            await stream.send(connect_request(authority))
            head: ResponseHead
            head, _ = await read_head(stream)
            if head.status == 200:
                await stream.send(b"question")
                await stream.end()
                assert await stream.receive() == b"question"
                assert await stream.receive() == b""
            return head.status
        finally:
            await stream.close()

    async def _node_api(self, method: str, path: str, document: Any = None) -> Reply:
        headers = {"Authorization": f"Bearer {self.secret}"}
        return await ask(self.control.app, method, f"/node/v1/{path}", headers=headers, document=document)


@asynccontextmanager
async def policy_run(
    authority: Authority, folder: Path, database: Database, monkeypatch: Any
) -> AsyncIterator[PolicyRun]:
    """Yield a run whose gateway `edge` allows all features; every target's name leads to one echoing service."""

    async def echo(stream: ByteStream) -> None:
        while data := await stream.receive():
            await stream.send(data)
        await stream.end()

    async with (
        control_plane(folder / "control", database) as control,
        gateway_node(authority, folder) as node,
        target(echo) as port,
    ):
        node.policy = Policy(type(node.policy.snapshot)(), node.policy.catalogue)
        node.resolver.addresses = _Everything()
        monkeypatch.setattr("arcgate.gateway.outbound.dial", _dial_to(port))
        run = PolicyRun(control, node, port, load_node_secret(control.context.configuration))
        await control.group()
        gateway = (await control.gateway("edge")).json()
        run.gateway_id, run.name = gateway["id"], gateway["properties"]["gatewayEndpoint"]
        await run.follow()
        yield run


class _Everything(dict[str, Any]):
    """All names are this host."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> list[Any]:
        return [ip_address("127.0.0.1")]


def _dial_to(port: int) -> Any:
    return lambda addresses, _port, timeout: dial(addresses, port, timeout)
