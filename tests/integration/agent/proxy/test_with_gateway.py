"""Arc Proxy and the real gateway together, with curl as the client: what one says the other understands."""

import asyncio
import hashlib
import ssl
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.agent_machine import AgentMachine, address, agent_machine, connect_head, error_of, target
from worlds.authority import Authority
from worlds.fake_proxy import fake_proxy
from worlds.gateway_node import NAME, GatewayNode, gateway_node
from worlds.waiting import until

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 8_000


class Web:
    """An HTTPS server that answers every request with BODY, plain HTTP when it has no context."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context

    async def __call__(self, raw: SocketStream) -> None:
        stream = TlsStream(raw, self.context, server_side=True) if self.context is not None else None
        try:
            if stream is not None:
                await stream.handshake()
            one = stream or raw
            received = b""
            while b"\r\n\r\n" not in received:
                received += await one.receive()
            await one.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
            await one.end()
            while await one.receive():
                pass
        except (ssl.SSLError, StreamReset):
            raw.abort()


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path) as one:
        one.publish_endpoints("web.example.com", "web.example.com:80")
        yield one


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority, node: GatewayNode) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path / "machine", authority) as one:
        one.enrol(node)
        one.set_goal("*.example.com", "web.example.com:80", port=node.port, host=NAME)
        yield one


async def _curl(machine: AgentMachine, *arguments: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        "curl",
        *("--silent", "--max-time", "20", "--proxy", f"http://127.0.0.1:{machine.port}", *arguments),
        stdout=PIPE,
        env={"PATH": "/usr/bin:/bin"},
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output


async def test_curl_gets_a_page_and_both_sides_count_the_same_bytes(
    machine: AgentMachine, node: GatewayNode, authority: Authority
) -> None:
    web = Web(server_context(*authority.issue("web.example.com")))
    async with target(web) as port:
        node.publish_endpoints(f"web.example.com:{port}")
        node.resolver.addresses["web.example.com"] = [address("127.0.0.1")]
        machine.set_goal(f"web.example.com:{port}", port=node.port, host=NAME)
        code, body = await _curl(machine, "--cacert", str(authority.file), f"https://web.example.com:{port}/page")
    assert code == 0
    assert hashlib.sha256(body).digest() == hashlib.sha256(BODY).digest()
    record = await node.wait_for_record(Event.END)
    await until(lambda: len(machine.request_lines()) == 1)
    line = machine.request_lines()[0]
    assert f"correlation_id={record.correlation_id} " in line
    assert f"bytes_up={record.bytes_up} bytes_down={record.bytes_down}" in line
    assert record.reason == "completed"


async def test_curl_gets_plain_http_through_the_gateway_behind_an_enterprise_proxy(
    machine: AgentMachine, node: GatewayNode
) -> None:
    async with fake_proxy() as proxy, target(Web(None)) as port:
        node.publish_endpoints(f"web.example.com:{port}")
        node.resolver.addresses["web.example.com"] = [address("127.0.0.1")]
        machine.set_goal(f"web.example.com:{port}", port=node.port, host=NAME)
        machine.set(proxy_url=proxy.url)
        code, body = await _curl(machine, f"http://web.example.com:{port}/page")
    assert (code, body) == (0, BODY)
    assert {(head.method, head.target) for head in proxy.heads} == {("CONNECT", b"127.0.0.1:%d" % node.port)}


class Feed:
    """A server that sends piece after piece for as long as the test has some, and then tells the end."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = hashlib.sha256()

    async def __call__(self, raw: SocketStream) -> None:
        while piece := await self.pieces.get():
            self.sent.update(piece)
            await raw.send(piece)
        await raw.end()
        while await raw.receive():
            pass


async def test_a_running_tunnel_keeps_every_byte_through_changes_that_still_allow_it(
    machine: AgentMachine, node: GatewayNode
) -> None:
    feed = Feed()
    async with target(feed) as port:
        node.resolver.addresses["web.example.com"] = [address("127.0.0.1")]
        node.publish_endpoints(f"web.example.com:{port}")
        machine.set_goal(f"web.example.com:{port}", port=node.port, host=NAME)
        client, _ = await machine.tunnel(f"web.example.com:{port}")
        changes: list[Callable[[], None]] = [
            lambda: node.publish_endpoints(f"web.example.com:{port}", "more.example.com"),
            lambda: machine.set_goal(f"web.example.com:{port}", "more.example.com", port=node.port, host=NAME),
            lambda: machine.set(proxy_bypass=["elsewhere.example"]),
            lambda: machine.set(arcproxy_channels=3),
            lambda: machine.set(connection_type="direct"),  # the next tunnel's way, and not this one's
            lambda: machine.set_goal("more.example.com", port=node.port, host="another.gw.arcgate.test"),
        ]
        received = hashlib.sha256()
        for change in changes:
            feed.pieces.put_nowait(BODY)
            count = 0
            change()
            while count < len(BODY):
                piece = await client.receive()
                assert piece
                received.update(piece)
                count += len(piece)
        feed.pieces.put_nowait(b"")
        assert await client.receive() == b""
        await client.end()
        await client.close()
    assert received.digest() == feed.sent.digest()
    record = await node.wait_for_record(Event.END)
    assert (record.reason, record.bytes_down) == ("completed", len(changes) * len(BODY))


async def test_what_the_gateway_refuses_after_a_change_is_cut_with_the_reason(
    machine: AgentMachine, node: GatewayNode
) -> None:
    feed = Feed()
    async with target(feed) as port:
        node.resolver.addresses["web.example.com"] = [address("127.0.0.1")]
        node.publish_endpoints(f"web.example.com:{port}")
        machine.set_goal(f"web.example.com:{port}", port=node.port, host=NAME)
        client, _ = await machine.tunnel(f"web.example.com:{port}")
        feed.pieces.put_nowait(b"x")
        assert await client.receive() == b"x"
        node.publish_endpoints("more.example.com")
        with pytest.raises(StreamReset):
            await client.receive()
        await client.close()
        feed.pieces.put_nowait(b"")
    assert (await node.wait_for_record(Event.END)).reason == "target_not_allowed"


async def test_the_gateways_own_refusal_reaches_the_client(machine: AgentMachine) -> None:
    answer = await machine.ask(connect_head("else.example.com:443"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert error_of(answer)["code"] == "target_not_allowed"
    assert "allowed features" in error_of(answer)["remedy"]
    code, _ = await _curl(machine, "https://else.example.com/")
    assert code == 56


async def test_a_machine_certificate_of_another_authority_is_told_apart_from_a_broken_gateway(
    machine: AgentMachine, authority: Authority
) -> None:
    machine.set_certificate(authority)
    error = error_of(await machine.ask(connect_head("web.example.com:443")))
    assert error["code"] == "gateway_refused_certificate"
