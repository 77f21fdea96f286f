"""The policy on a running node: observed before it is enforced, narrowed by groups, and looked at inside tunnels."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.audit import Event
from arcgate.core.snapshot import Kind
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import dial
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from worlds.authority import Authority
from worlds.gateway_node import (
    GATEWAY_ID,
    PREFIX,
    TENANT,
    Client,
    GatewayNode,
    connect_request,
    gateway_node,
    read_head,
    target,
)
from worlds.sockets import echo
from worlds.waiting import until

LOOPBACK = ip_network("127.0.0.0/8")

pytestmark = pytest.mark.anyio


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path) as running:
        yield running


def settings(node: GatewayNode, *features: str, **policy: Any) -> None:
    body = {"resourceId": GATEWAY_ID, "tenantId": TENANT, "allowedFeatures": list(features), "policy": policy}
    node.publish((Kind.GATEWAY, PREFIX, body))


async def test_in_audit_mode_a_tunnel_passes_and_is_told_of_like_a_refusal(node: GatewayNode) -> None:
    client = node.enrol()
    settings(node, "own", mode="audit")
    node.publish_endpoints("127.0.0.0/8:*", allow_private=True)
    settings(node, mode="audit")
    node.open_networks = (LOOPBACK,)
    node.publish()
    async with target(echo) as port:
        stream = await client.tunnel(f"127.0.0.1:{port}")
        await stream.send(b"learn")
        assert await stream.receive() == b"learn"
        start = await node.wait_for_record(Event.START)
        assert (start.verdict, start.reason) == ("audited", Reason.TARGET_NOT_ALLOWED)
        assert start.machine_id == client.machine_id
        settings(node, mode="enforce")
        end = await node.wait_for_record(Event.END)
        assert (end.verdict, end.reason) == ("audited", EndReason.TARGET_NOT_ALLOWED)
        head, body = await client.connect(f"127.0.0.1:{port}")
        assert (head.status, json.loads(body)["error"]["code"]) == (403, Reason.TARGET_NOT_ALLOWED)
        await stream.close()


async def test_a_change_of_a_machines_tags_cuts_what_its_groups_forbid_now(node: GatewayNode) -> None:
    client = node.enrol()
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        group = {"name": "sql", "tenantId": TENANT, "tags": {"role": "sql"}, "allowedFeatures": []}
        node.publish((Kind.MACHINE_GROUP, "/groups/sql", group))
        stream = await client.tunnel(f"127.0.0.1:{port}")
        machine = dict(node.policy.snapshot.entries[Kind.MACHINE, client.machine_id].body or {})
        node.publish((Kind.MACHINE, client.machine_id, {**machine, "tags": {"role": "sql"}}))
        assert (await node.wait_for_record(Event.END)).reason == EndReason.TARGET_NOT_ALLOWED
        head, body = await client.connect(f"127.0.0.1:{port}")
        assert (head.status, json.loads(body)["error"]["code"]) == (403, Reason.GROUP_NOT_ALLOWED)
        await stream.close()


async def test_a_groups_limit_holds_for_each_of_its_machines(node: GatewayNode) -> None:
    client = node.enrol()
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        limits = {"name": "few", "tenantId": TENANT, "tags": {}, "allowedFeatures": None, "limits": {"tunnels": 1}}
        node.publish((Kind.MACHINE_GROUP, "/groups/few", limits))
        stream = await client.tunnel(f"127.0.0.1:{port}")
        head, body = await client.connect(f"127.0.0.1:{port}")
        assert (head.status, json.loads(body)["error"]["code"]) == (503, Reason.LIMIT_REACHED)
        assert "1 tunnels" in json.loads(body)["error"]["detail"]
        await stream.close()


def hello(name: str | None) -> bytes:
    """Return the first bytes of a TLS client that asks for a name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()  # noqa: TID251 - a client of the test's
    if name is None:
        context.check_hostname = False
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


TARGET = "www.powershellgallery.com"


@pytest.mark.parametrize(
    ("first", "detail"),
    [
        (hello("other.example"), "asks for other.example"),
        (hello(None), "names no server"),
        (b"GET / HTTP/1.1\r\n", "no ClientHello"),
    ],
    ids=["another name", "no name", "no TLS"],
)
async def test_another_server_name_than_the_targets_ends_the_tunnel_before_the_target_sees_a_byte(
    node: GatewayNode, monkeypatch: pytest.MonkeyPatch, first: bytes, detail: str
) -> None:
    seen = await run_with_hello(node, monkeypatch, first, "enforce")
    end = await node.wait_for_record(Event.END)
    assert end.reason == EndReason.SERVER_NAME_DIFFERS
    assert detail in end.detail
    assert seen == b""


async def test_the_targets_own_name_passes_and_so_does_any_other_in_audit_mode(
    node: GatewayNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = hello(TARGET)
    assert await run_with_hello(node, monkeypatch, own, "enforce") == own
    other = hello("other.example")
    assert await run_with_hello(node, monkeypatch, other, "audit") == other
    observed = [one for one in node.records(Event.REFUSAL) if one.verdict == "audited"]
    assert [one.reason for one in observed] == [Reason.SERVER_NAME_DIFFERS]
    assert await run_with_hello(node, monkeypatch, b"not TLS", "off") == b"not TLS"


async def run_with_hello(node: GatewayNode, monkeypatch: pytest.MonkeyPatch, first: bytes, check: str) -> bytes:
    """Send first bytes in two pieces through a tunnel to `TARGET`, port 443; return what arrived there."""
    client: Client = node.enrol()
    node.open_networks = (LOOPBACK,)
    settings(node, "Downloads", serverName=check)
    arrived, got = bytearray(), asyncio.Event()

    async def collect(stream: ByteStream) -> None:
        while data := await stream.receive():
            arrived.extend(data)
            if len(arrived) >= len(first):
                got.set()

    async with target(collect) as port:
        monkeypatch.setattr(
            "arcgate.gateway.outbound.dial", lambda addresses, _port, timeout: dial(addresses, port, timeout)
        )
        node.resolver.addresses[TARGET] = [LOOPBACK[1]]
        stream = await client.tunnel(f"{TARGET}:443")
        before = len(node.records(Event.END))
        await stream.send(first[:3])
        await stream.send(first[3:])
        try:
            await until(lambda: got.is_set() or len(node.records(Event.END)) > before)
            await stream.end()
        except StreamReset:
            pass
        await stream.close()
        await until(lambda: len(node.records(Event.END)) > before)
        return bytes(arrived)


async def test_a_channel_whose_server_names_are_looked_at_carries_the_next_tunnel_too(
    node: GatewayNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = node.enrol()
    node.open_networks = (LOOPBACK,)
    settings(node, "Downloads", serverName="enforce")
    node.resolver.addresses[TARGET] = [LOOPBACK[1]]
    own = hello(TARGET)
    async with target(echo) as port:
        monkeypatch.setattr(
            "arcgate.gateway.outbound.dial", lambda addresses, _port, timeout: dial(addresses, port, timeout)
        )
        channel = await client.open()
        for _ in range(2):
            await channel.send(connect_request(f"{TARGET}:443", **{FRAMES_FIELD: FRAMES_VERSION}))
            _, rest = await read_head(channel)
            tunnel = ChannelTunnel(channel, rest, may_hand_over=False)
            await tunnel.send(own[:7])
            await tunnel.send(own[7:])
            await tunnel.end()
            heard = b""
            while data := await tunnel.receive():
                heard += data
            assert heard == own
            assert tunnel.is_reusable
        await channel.close()
