"""Real TLS stacks inside tunnels through the real Arc Proxy and gateway: bytes exact, handed over where that may be."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.core.audit import AuditRecord, Event
from arcgate.core.hand_over import HandOverMode
from arcgate.net.streams import PrefixedStream, SocketStream
from worlds.agent_machine import AgentMachine, address, agent_machine, target
from worlds.authority import Authority
from worlds.fake_gateway import carry
from worlds.gateway_node import NAME as GATEWAY
from worlds.gateway_node import USUAL_HAND_OVER, GatewayNode, gateway_node
from worlds.tls_stacks import NAME, PAYLOAD, STACKS, Inside, client_command, make_inside, running, tls_server
from worlds.waiting import until

pytestmark = pytest.mark.anyio

SIZE = 1_500_000
REQUEST = f"GET /{PAYLOAD} HTTP/1.0\r\n\r\n".encode()
IS_HANDED_OVER = USUAL_HAND_OVER.mode is not HandOverMode.OFF


@dataclass
class Way:
    """Arc Proxy and gateway, and what the gateway has recorded."""

    machine: AgentMachine
    node: GatewayNode

    @asynccontextmanager
    async def to(self, port: int) -> AsyncIterator[int]:
        """Give a local port that leads through both to the server on a port."""
        where = f"{NAME}:{port}"
        self.node.publish_endpoints(where)
        self.machine.set_goal(where, port=self.node.port, host=GATEWAY)

        async def through(client: SocketStream) -> None:
            tunnel, _ = await self.machine.tunnel(where)
            await carry(PrefixedStream(b"", client), tunnel)

        async with target(through) as entry:
            yield entry

    async def end(self, count: int = 1) -> AuditRecord:
        return await self.node.wait_for_record(Event.END, count)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Inside:
    return make_inside(tmp_path_factory.mktemp("inside"), authority, random.Random(4).randbytes(SIZE))


@pytest.fixture
async def way(tmp_path: Path, authority: Authority) -> AsyncIterator[Way]:
    async with gateway_node(authority, tmp_path) as node, agent_machine(tmp_path / "machine", authority) as machine:
        node.take_in(machine.paths)
        node.resolver.addresses[NAME] = [address("127.0.0.1")]
        yield Way(machine, node)


async def fetch(command: list[str], inside: Inside, request: bytes = REQUEST) -> bytes:
    """Run a client that asks for the payload; return what it printed behind the head."""
    async with running(command, inside.folder) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(request)
        await client.stdin.drain()
        async with asyncio.timeout(20):
            answer = await client.stdout.read()
    return answer.partition(b"\r\n\r\n")[2]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("client", "server"), [("openssl", "gnutls"), ("gnutls", "rustls"), ("rustls", "openssl")])
async def test_a_download_by_tls_1_3_is_exact_and_handed_over(
    way: Way, inside: Inside, client: str, server: str
) -> None:
    async with tls_server(server, inside) as (port, _), way.to(port) as entry:
        body = await fetch(client_command(client, entry, inside), inside)
        assert digest(body) == digest(inside.payload)
        assert (await way.end()).handed_over is IS_HANDED_OVER


@pytest.mark.parametrize(("client", "server"), [("gnutls", "openssl"), ("openssl", "rustls"), ("rustls", "openssl")])
async def test_tls_1_2_is_exact_and_never_handed_over(way: Way, inside: Inside, client: str, server: str) -> None:
    async with tls_server(server, inside) as (port, _), way.to(port) as entry:
        body = await fetch(client_command(client, entry, inside, version="1.2"), inside)
        assert digest(body) == digest(inside.payload)
        assert (await way.end()).handed_over is False


@pytest.mark.parametrize("stack", STACKS)
async def test_a_session_with_client_certificates_is_exact_and_handed_over(
    way: Way, inside: Inside, stack: str
) -> None:
    async with tls_server(stack, inside, client_certificate=True) as (port, _), way.to(port) as entry:
        body = await fetch(client_command(stack, entry, inside, client_certificate=True), inside)
        assert digest(body) == digest(inside.payload)
        assert (await way.end()).handed_over is IS_HANDED_OVER


@pytest.mark.parametrize("client", ["openssl", "gnutls"])
async def test_a_hello_retry_request_does_not_confuse_the_hand_over(way: Way, inside: Inside, client: str) -> None:
    keys = {
        "openssl": ("-quiet", "-groups", "X25519:P-384", "-msg", "-msgfile", str(inside.folder / "messages")),
        "gnutls": (
            "--priority",
            "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP384R1",
            "--single-key-share",
        ),
    }
    async with tls_server("openssl", inside, "-WWW", "-groups", "P-384") as (port, _), way.to(port) as entry:
        body = await fetch(client_command(client, entry, inside, *keys[client]), inside)
        assert digest(body) == digest(inside.payload)
        assert (await way.end()).handed_over is IS_HANDED_OVER
    if client == "openssl":
        assert (inside.folder / "messages").read_text().count("ClientHello") == 2


async def test_a_key_update_after_the_hand_over_is_carried_as_it_is(way: Way, inside: Inside) -> None:
    pieces = [b"a" * 400_000 + b"\n", b"b" * 400_000 + b"\n", b"c" * 400_000 + b"\n"]
    async with (
        tls_server("openssl", inside, "-naccept", "1") as (port, server),
        way.to(port) as entry,
        running(client_command("openssl", entry, inside, "-brief"), inside.folder) as client,
    ):
        assert client.stdin is not None
        assert server.stdout is not None
        async with asyncio.timeout(20):
            for piece in pieces:
                client.stdin.write(piece)
                await client.stdin.drain()
                # A command is one only at the beginning of what the client reads at once.
                assert digest(await server.stdout.readexactly(len(piece))) == digest(piece)
                updates = inside.errors.count("KEYUPDATE")
                client.stdin.write(b"K\n")
                await client.stdin.drain()
                await until(lambda before=updates: inside.errors.count("KEYUPDATE") > before)  # type: ignore[misc]
            client.stdin.write(b"Q\n")
        assert (await way.end()).handed_over is IS_HANDED_OVER


async def test_a_resumed_session_and_its_early_data_are_exact(way: Way, inside: Inside) -> None:
    session, early = inside.folder / "session.pem", inside.folder / "early"
    early.write_bytes(b"early words\n")
    later = b"later words " * 30_000 + b"\n"
    async with (
        tls_server("openssl", inside, "-early_data", "-naccept", "2") as (port, server),
        way.to(port) as entry,
    ):
        assert server.stdout is not None
        for number, options in enumerate((("-sess_out", session), ("-sess_in", session, "-early_data", early))):
            command = client_command("openssl", entry, inside, "-brief", *(str(one) for one in options))
            async with running(command, inside.folder) as client, asyncio.timeout(20):
                assert client.stdin is not None
                client.stdin.write(later)
                await client.stdin.drain()
                said = await server.stdout.readuntil(later)
                assert (early.read_bytes() in said) is (number == 1)
                assert said.endswith(later)
                await until(lambda: session.exists() and "END SSL SESSION" in session.read_text())
                client.stdin.write(b"Q\n")
                await client.stdin.drain()
                assert (await way.end(number + 1)).handed_over is IS_HANDED_OVER
