"""Two workers of one `arcgate serve`: what they share, and what the death of one costs."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from arcgate.agent.machine_key import MachineKey, now
from arcgate.control.login.throttle import ADDRESS_LIMIT
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.dialer import dial
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream, client_context
from worlds.cloud_process import CloudProcess, exchange
from worlds.gateway_node import connect_request, read_head
from worlds.sandbox_process import ARCGATE, STOP_LIMIT
from worlds.waiting import until, until_so, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

AUDIT = "2026-11-01"
DAILY_BYTES = 1_500_000
TUNNELS = 3


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

    async def connect(self, session: ssl.SSLSession | None = None, context: ssl.SSLContext | None = None) -> TlsStream:
        """Return a TLS connection to the gateway; the context is the client's, by default a stranger's."""
        raw = await dial([IPv4Address("127.0.0.1")], self.cloud.port, 10)
        stream = TlsStream(
            raw, context or self.context, server_side=False, server_hostname=self.gateway, session=session
        )
        await stream.handshake()
        return stream

    async def ask(self, context: ssl.SSLContext | None = None) -> tuple[TlsStream, str]:
        """Ask for a tunnel to the control plane; return it, and the reason of a refusal."""
        outer = await self.connect(context=context)
        await outer.send(connect_request(f"management.arcgate.test:{self.cloud.port}"))
        head, _ = await read_head(outer)
        return outer, "" if head.status == 200 else head.first("arcgate-reason")

    async def refusal(self, worker: int, context: ssl.SSLContext) -> str:
        """Return why a worker refuses a tunnel."""
        with self.only(worker):
            outer, reason = await self.ask(context)
        async with closing(outer):
            return reason

    async def tunnel(self, context: ssl.SSLContext | None = None) -> TlsStream:
        """Return TLS to the control plane through a tunnel of the gateway."""
        outer, reason = await self.ask(context)
        assert not reason
        inner = TlsStream(outer, self.context, server_side=False, server_hostname="management.arcgate.test")
        await inner.handshake()
        return inner

    def machine(self, name: str) -> ssl.SSLContext:
        """Return the TLS of a new machine's."""
        key, vm_id = MachineKey.generate(), str(uuid4())
        place = f"resourceGroups/{self.cloud.group()}/providers/Microsoft.HybridCompute/machines/{name}"
        properties = {"vmId": vm_id, "clientPublicKey": key.client_public_key}
        assert self.cloud.arm("PUT", place, {"location": "eastus", "properties": properties}).status < 300
        reply = self.cloud.request(
            "POST",
            f"/machine/{vm_id}/certificate",
            headers={"Authorization": f"Bearer {key.assertion(vm_id, now())}", "Content-Type": "application/json"},
            body=json.dumps({"csr": key.signing_request(vm_id)}).encode(),
        )
        assert reply.status == 200, reply.body
        file = self.cloud.folder / f"{vm_id}.pem"
        key.store(file)
        with file.open("a") as both:
            both.write(reply.json()["certificate"])
        context = client_context(ca_pem=self.cloud.ca.read_text())
        context.load_cert_chain(file)
        return context

    async def wait_for_successor(self, dead: int) -> int:
        """Return the worker that has taken the place of one that was killed, once it runs."""
        await until(lambda: len(set(self.children()) - {dead}) == 2, 30)
        (new,) = set(self.children()) - set(self.workers)
        self.workers = self.children()
        return new

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
        f"machine_tunnels = {TUNNELS}\nmachine_daily_bytes = {DAILY_BYTES}\n"
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


def guess(server: Server, source: str, count: int) -> list[int]:
    """Try wrong codes at the page for device codes from a loopback address; return the answers' statuses."""
    connection = HTTPSConnection(
        "localhost", server.cloud.port, context=server.context, timeout=20, source_address=(source, 0)
    )
    with contextlib.closing(connection):
        page = exchange(connection, "GET", "/devicelogin", headers={}, body=None)
        token = re.search(r'name="token" value="([^"]+)"', page.body.decode())
        assert token is not None
        cookie = page.headers["set-cookie"].partition(";")[0]
        fields = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"token": token[1], "step": "code", "code": "BBB-BBB-BBB"}).encode()
        return [exchange(connection, "POST", "/devicelogin", headers=fields, body=body).status for _ in range(count)]


def test_an_address_that_guesses_at_sign_in_is_throttled_and_another_one_is_not(server: Server) -> None:
    assert guess(server, "127.0.0.2", ADDRESS_LIMIT + 1) == [400] * ADDRESS_LIMIT + [429]
    assert guess(server, "127.0.0.3", 1) == [400]


async def until_allowed(server: Server, machine: ssl.SSLContext) -> None:
    """Wait until each worker knows a new machine."""
    for worker in server.workers:

        async def is_known(worker: int = worker) -> bool:
            return not await server.refusal(worker, machine)

        await until_so(is_known)


async def download(stream: TlsStream, least: int) -> int:
    """Return the bytes of answers that came before there were so many, or the tunnel was cut."""
    received = 0
    try:
        while received < least:
            await stream.send(b"GET /openapi.json HTTP/1.1\r\nHost: management.arcgate.test\r\n\r\n")
            head, body = await read_head(stream)
            assert head.status == 200
            left = int(head.first("content-length")) - len(body)
            received += len(body)
            while left > 0:
                data = await stream.receive()
                left, received = left - len(data), received + len(data)
    except StreamReset:
        pass
    return received


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
        new = await server.wait_for_successor(doomed)
        # Connections wait in the one queue until the new worker is ready to take them.
        with server.only(new):
            renewed = await server.tunnel()
        async with closing(renewed):
            assert await answers(renewed)
            assert all([await answers(stream) for stream in kept])
            await until(lambda: len(server.records("end")) >= before + 3, 30)
            # Three lost, two kept, one meanwhile, one renewed: each worker sends its records when it comes to it.
            await until(lambda: len(server.records("start")) >= 7, 30)
    ends = {record["tunnelId"]: record["reason"] for record in server.records("end")}
    starts = {record["tunnelId"]: record["node"] for record in server.records("start")}
    of_doomed = [tunnel for tunnel, reason in ends.items() if reason == EndReason.NODE_LOST]
    assert len(of_doomed) == 3
    assert len({starts[tunnel] for tunnel in of_doomed}) == 1
    # Both workers' records are in one audit: three lost, two kept, one meanwhile, one renewed.
    assert len(starts) == 7
    assert len({starts[tunnel] for tunnel in starts}) == 2


async def test_a_machine_has_its_tunnels_in_all_workers_together_and_gets_back_those_of_a_dead_one(
    server: Server,
) -> None:
    first, second = server.workers
    machine, tunnels = server.machine("many"), list[TlsStream]()
    await until_allowed(server, machine)
    for worker in (first, first, second):
        with server.only(worker):
            tunnels.append(await server.tunnel(machine))
    async with closing(*tunnels):
        assert [await server.refusal(worker, machine) for worker in (second, first)] == [Reason.LIMIT_REACHED] * 2
        os.kill(first, signal.SIGKILL)
        for stream in tunnels[:2]:
            with pytest.raises(StreamReset):
                await read_to_end(stream)
        # At once, before another worker has taken its place.
        again = [await server.tunnel(machine) for _ in range(2)]
        async with closing(*again):
            new = await server.wait_for_successor(first)
            assert [await server.refusal(worker, machine) for worker in (second, new)] == [Reason.LIMIT_REACHED] * 2


async def test_a_machine_has_its_bytes_of_a_day_once_whichever_workers_carry_them_and_whichever_die(
    server: Server,
) -> None:
    first, second = server.workers
    machine = server.machine("greedy")
    await until_allowed(server, machine)
    with server.only(first):
        tunnel = await server.tunnel(machine)
    async with closing(tunnel):
        before = await download(tunnel, DAILY_BYTES * 2 // 3)
    with server.only(second):
        tunnel = await server.tunnel(machine)
    os.kill(first, signal.SIGKILL)
    async with closing(tunnel):
        after = await download(tunnel, DAILY_BYTES)
    # Content alone is counted here, the gateway counts TLS, heads, and chunks to their end.
    assert DAILY_BYTES * 0.8 < before + after < DAILY_BYTES * 1.1
    new = await server.wait_for_successor(first)
    assert [await server.refusal(worker, machine) for worker in (second, new)] == [Reason.DAY_USED_UP] * 2
