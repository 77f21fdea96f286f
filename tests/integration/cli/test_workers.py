"""Two workers of one `arcgate serve`: what they share, and what the death of one costs."""

import json
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.verdicts import EndReason
from arcgate.net.dialer import dial
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream, client_context
from worlds.cloud_process import CloudProcess
from worlds.gateway_node import connect_request, read_head
from worlds.sandbox_process import ARCGATE, STOP_LIMIT
from worlds.waiting import until, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

AUDIT = "2026-11-01"


@dataclass
class Server:
    """A server of two workers with a gateway."""

    cloud: CloudProcess
    supervisor: int
    workers: list[int]
    gateway: str = ""
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let this worker alone take connections; the other one stands still."""
        others = [pid for pid in self.workers if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(_state(pid) == "T" for pid in others), "the others stand still")
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    async def connect(self, session: ssl.SSLSession | None = None) -> TlsStream:
        """Return a TLS connection to the gateway."""
        raw = await dial([IPv4Address("127.0.0.1")], self.cloud.port, 10)
        stream = TlsStream(raw, self.context, server_side=False, server_hostname=self.gateway, session=session)
        await stream.handshake()
        return stream

    async def tunnel(self) -> TlsStream:
        """Return TLS to the control plane through a tunnel of the gateway."""
        outer = await self.connect()
        await outer.send(connect_request(f"management.arcgate.test:{self.cloud.port}"))
        head, _ = await read_head(outer)
        assert head.status == 200, head
        inner = TlsStream(outer, self.context, server_side=False, server_hostname="management.arcgate.test")
        await inner.handshake()
        return inner

    def records(self, event: str) -> list[dict[str, Any]]:
        path = f"{self.cloud.subscription}/providers/Arcgate.Network/auditRecords"
        reply = self.cloud.arm("GET", path, version=AUDIT, query={"event": event})
        assert reply.status == 200, reply.body
        return list(reply.json()["value"])

    def children(self) -> list[int]:
        """Return the gateway workers that run now."""
        path = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children")
        return [int(pid) for pid in path.read_text().split() if _is_worker(int(pid))]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def _is_worker(pid: int) -> bool:
    try:
        return b"arcgate.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server of two workers."""
    file = folder / "arcgate.toml"
    file.touch(mode=0o600)
    file.write_text(
        f'state_dir = "{folder}/state"\n[listen]\naddresses = ["127.0.0.1"]\nport = 0\n'
        '[cloud]\nextra_names = ["localhost"]\n[gateway]\ndrain_timeout = 1\nworkers = 2\n'
    )
    command = [ARCGATE, "serve", "--json", "--config", str(file)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            ready = json.loads(line)
            first = json.loads(Path(ready["initialAdmin"]).read_text())
            cloud = CloudProcess(process, int(ready["addresses"][0].rpartition(":")[2]), folder, first)
            yield Server(cloud, process.pid, ready["pids"]["gateway"])
        finally:
            process.terminate()
            process.wait(STOP_LIMIT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("workers")) as made:
        cloud = made.cloud
        made.context = client_context(ca_pem=cloud.ca.read_text())
        place = f"resourceGroups/{cloud.group()}/providers/Microsoft.HybridCompute/gateways/edge"
        assert cloud.arm("PUT", place, {"location": "eastus", "properties": {"allowedFeatures": ["*"]}}).status < 300
        reply = wait_until(lambda: _finished(cloud, place), "the gateway is made")
        made.gateway = reply["gatewayEndpoint"].partition(":")[0]
        yield made


def _finished(cloud: CloudProcess, place: str) -> dict[str, Any]:
    properties: dict[str, Any] = cloud.arm("GET", place).json().get("properties", {})
    return properties if properties.get("provisioningState") == "Succeeded" else {}


async def answers(stream: TlsStream) -> bool:
    """Say whether the control plane answers at the other end of a tunnel."""
    try:
        await stream.send(b"GET /healthz HTTP/1.1\r\nHost: management.arcgate.test\r\n\r\n")
        head, body = await read_head(stream)
        while len(body) < int(head.first("content-length")):
            body += await stream.receive()
        return head.status == 200
    except StreamReset:
        return False


async def read_to_end(stream: TlsStream) -> None:
    while await stream.receive():
        pass


@asynccontextmanager
async def closing(*streams: TlsStream) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for stream in streams:
            await stream.close()


async def test_a_session_is_resumed_by_whichever_worker_a_client_meets(server: Server) -> None:
    first, second = server.workers
    session: ssl.SSLSession | None = None
    resumed = []
    for worker in (first, second, second, first):
        with server.only(worker):
            stream = await server.connect(session)
            async with closing(stream):
                await stream.send(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
                await read_head(stream)  # the ticket has come before it
                resumed.append(stream.tls.session_reused)
                session = stream.tls.session
    assert resumed == [False, True, True, True]


async def test_a_killed_worker_costs_its_own_tunnels_alone_and_another_one_takes_its_place(server: Server) -> None:
    doomed, other = server.workers
    with server.only(doomed):
        lost = [await server.tunnel() for _ in range(3)]
    with server.only(other):
        kept = [await server.tunnel() for _ in range(2)]
    async with closing(*lost, *kept):
        assert all([await answers(stream) for stream in (*lost, *kept)])
        before = len(server.records("end"))
        os.kill(doomed, signal.SIGKILL)
        for stream in lost:
            with pytest.raises(StreamReset):
                await read_to_end(stream)
        assert all([await answers(stream) for stream in kept])
        again = await server.tunnel()  # while one is missing, the other one takes all
        async with closing(again):
            assert await answers(again)
        await until(lambda: len(set(server.children()) - {doomed}) == 2, 30)
        server.workers = server.children()
        (new,) = set(server.workers) - {other}
        # Connections wait in the one queue until the new worker is ready to take them.
        with server.only(new):
            renewed = await server.tunnel()
        async with closing(renewed):
            assert await answers(renewed)
            assert all([await answers(stream) for stream in kept])
            await until(lambda: len(server.records("end")) >= before + 3, 30)
    ends = {record["tunnelId"]: record["reason"] for record in server.records("end")}
    starts = {record["tunnelId"]: record["node"] for record in server.records("start")}
    of_doomed = [tunnel for tunnel, reason in ends.items() if reason == EndReason.NODE_LOST]
    assert len(of_doomed) == 3
    assert len({starts[tunnel] for tunnel in of_doomed}) == 1
    # Both workers' records are in one audit: three lost, two kept, one meanwhile, one renewed.
    assert len(starts) == 7
    assert len({starts[tunnel] for tunnel in starts}) == 2
