"""A gateway node with real sockets and TLS: who gets through, who is refused, and what the audit says of it."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import uuid4

import pytest

from arcgate.core.audit import Event
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.policy import Policy
from arcgate.core.snapshot import Kind, Snapshot
from arcgate.core.verdicts import EndReason, Reason
from arcgate.gateway.sessions import Timeouts
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.authority import Authority
from worlds.gateway_node import NAME, PREFIX, Client, GatewayNode, connect_request, gateway_node, read_head, target
from worlds.sockets import echo
from worlds.waiting import until

pytestmark = pytest.mark.anyio

QUICK = Timeouts(handshake=0.5, head=0.5, channel_idle=0.5)


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path) as running:
        yield running


async def digest_after_upload(stream: ByteStream) -> None:
    """Take everything up to the end, then answer with its digest: needs a half-close that works."""
    digest = hashlib.sha256()
    while data := await stream.receive():
        digest.update(data)
    await stream.send(digest.hexdigest().encode())
    await stream.end()


async def read_all(stream: ByteStream) -> bytes:
    whole = b""
    while data := await stream.receive():
        whole += data
    return whole


def error_of(body: bytes) -> dict[str, str]:
    error = json.loads(body)["error"]
    assert isinstance(error, dict)
    return error


async def test_a_tunnel_carries_bytes_and_leaves_one_start_and_one_end(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        tunnel = await client.tunnel(f"127.0.0.1:{port}")
        await tunnel.send(b"hello")
        await tunnel.end()
        assert await read_all(tunnel) == b"hello"
        await tunnel.close()
        end = await node.wait_for_record(Event.END)
    starts = node.records(Event.START)
    assert [(record.tunnel_id, record.reason) for record in starts] == [(end.tunnel_id, Reason.ENDPOINT_SET)]
    assert (end.bytes_up, end.bytes_down, end.reason) == (5, 5, EndReason.COMPLETED)
    assert end.machine_id == client.machine_id
    assert end.resolved_address == "127.0.0.1"
    assert end.policy_revision == node.policy.snapshot.revision
    assert len(node.records()) == 2


async def test_an_upload_that_ends_first_gets_its_answer_in_full(node: GatewayNode) -> None:
    payload = bytes(range(256)) * 20_000
    async with target(digest_after_upload) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        await tunnel.send(payload)
        await tunnel.end()
        assert (await read_all(tunnel)).decode() == hashlib.sha256(payload).hexdigest()
        await tunnel.close()
        end = await node.wait_for_record(Event.END)
    assert end.bytes_up == len(payload)


async def test_a_target_that_ends_first_still_takes_the_upload(node: GatewayNode) -> None:
    received = asyncio.get_running_loop().create_future()

    async def goodbye_then_read(stream: ByteStream) -> None:
        await stream.send(b"bye")
        await stream.end()
        received.set_result(len(await read_all(stream)))

    async with target(goodbye_then_read) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        assert await read_all(tunnel) == b"bye"
        for _ in range(64):
            await tunnel.send(bytes(65_536))
        await tunnel.end()
        assert await received == 64 * 65_536
        await tunnel.close()
        assert (await node.wait_for_record(Event.END)).reason == EndReason.COMPLETED


async def test_early_bytes_behind_the_request_belong_to_the_tunnel(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        stream = await node.enrol().open()
        await stream.send(connect_request(f"127.0.0.1:{port}") + b"early")
        head, rest = await read_head(stream)
        assert head.status == 200
        assert (rest or await stream.receive()) == b"early"
        await stream.close()
        await node.wait_for_record(Event.END)


async def test_a_reset_target_is_a_visible_cut_for_the_client(node: GatewayNode) -> None:
    async def reset(stream: ByteStream) -> None:
        await stream.receive()
        stream.abort()

    async with target(reset) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        await tunnel.send(b"x")
        with pytest.raises(StreamReset):
            await tunnel.receive()
        await tunnel.close()
        assert (await node.wait_for_record(Event.END)).reason == EndReason.TARGET_RESET


async def test_a_client_that_goes_without_a_word_resets_the_target(node: GatewayNode) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def watch(stream: ByteStream) -> None:
        try:
            await read_all(stream)
            seen.set_result("end")
        except StreamReset:
            seen.set_result("reset")

    async with target(watch) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        tunnel.abort()
        assert await seen == "reset"
        assert (await node.wait_for_record(Event.END)).reason == EndReason.CLIENT_RESET


@pytest.mark.parametrize(
    ("aim", "reason"),
    [
        ("evil.example.com:443", Reason.TARGET_NOT_ALLOWED),
        ("management.azure.com:22", Reason.TARGET_NOT_ALLOWED),
        ("management.azure.com.evil.example:443", Reason.TARGET_NOT_ALLOWED),
        ("127.0.0.1:443", Reason.TARGET_NOT_ALLOWED),
        ("169.254.169.254:80", Reason.TARGET_NOT_ALLOWED),
        ("[::1]:443", Reason.TARGET_NOT_ALLOWED),
        ("[::ffff:169.254.169.254]:443", Reason.TARGET_NOT_ALLOWED),
    ],
)
async def test_targets_that_no_rule_names_are_refused_with_a_remedy(
    node: GatewayNode, aim: str, reason: Reason
) -> None:
    head, body = await node.enrol().connect(aim, Arcgate_Correlation_Id="from-the-client-1")
    error = error_of(body)
    assert head.status == 403
    assert head.first("arcgate-reason") == reason == error["code"]
    assert head.first("arcgate-correlation-id") == "from-the-client-1"
    assert error["remedy"]
    refusal = await node.wait_for_record(Event.REFUSAL)
    assert (refusal.reason, refusal.correlation_id) == (reason, "from-the-client-1")
    assert node.resolver.asked == []


@pytest.mark.parametrize(
    "spelling",
    [
        "2130706433:443",
        "0x7f000001:443",
        "0177.0.0.1:443",
        "127.1:443",
        "127.0.0.1.:443",
        "management.azure.com..:443",
        "%31%32%37.0.0.1:443",
        "[127.0.0.1]:443",
        "[::1%25lo]:443",
        "user@management.azure.com:443",
        "management.azure.com:0",
        "management.azure.com:65979",
        "management.azure.com:+443",
        "management.azure.com",
        "*.azure.com:443",
    ],
)
async def test_spellings_that_two_parsers_could_read_differently_are_malformed(
    node: GatewayNode, spelling: str
) -> None:
    head, body = await node.enrol().connect(spelling)
    assert (head.status, error_of(body)["code"]) == (400, Reason.REQUEST_MALFORMED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.31.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
    ],
)
async def test_an_allowed_name_that_leads_inside_is_refused(node: GatewayNode, address: str) -> None:
    node.resolver.addresses["management.azure.com"] = [ip_address(address)]
    head, body = await node.enrol().connect("management.azure.com:443")
    assert (head.status, error_of(body)["code"]) == (403, Reason.ADDRESS_NOT_ALLOWED)
    refusal = await node.wait_for_record(Event.REFUSAL)
    assert refusal.resolved_address == str(ip_address(address))
    assert node.resolver.asked == ["management.azure.com"]


async def test_only_the_checked_addresses_of_a_mixed_answer_are_dialled(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.open_networks = (ip_network("127.0.0.1/32"),)
        node.publish_endpoints(f"mixed.example.com:{port}", allow_private=False)
        node.resolver.addresses["mixed.example.com"] = [ip_address("10.0.0.1"), ip_address("127.0.0.1")]
        tunnel = await node.enrol().tunnel(f"mixed.example.com:{port}")
        await tunnel.close()
        assert (await node.wait_for_record(Event.START)).resolved_address == "127.0.0.1"
        await node.wait_for_record(Event.END)


async def test_metadata_stays_shut_even_where_private_addresses_are_allowed(node: GatewayNode) -> None:
    node.publish_endpoints("169.254.169.254:80", "metadata.example.com:80")
    node.resolver.addresses["metadata.example.com"] = [ip_address("169.254.169.254")]
    client = node.enrol()
    for authority in ("169.254.169.254:80", "metadata.example.com:80"):
        _, body = await client.connect(authority)
        assert error_of(body)["code"] == Reason.ADDRESS_NOT_ALLOWED


async def test_the_gateway_does_not_dial_itself(node: GatewayNode) -> None:
    node.publish_endpoints(f"127.0.0.1:{node.port}")
    _, body = await node.enrol().connect(f"127.0.0.1:{node.port}")
    assert error_of(body)["code"] == Reason.LOOP


async def test_without_a_certificate_only_the_control_plane_is_reached(node: GatewayNode) -> None:
    async with target(echo) as port:
        cloud = {"domain": "arcgate.test", "controlHosts": [f"management.arcgate.test:{port}"]}
        node.publish((Kind.CLOUD, "cloud", cloud))
        node.resolver.addresses["management.arcgate.test"] = [ip_address("127.0.0.1")]
        stranger = node.stranger()
        tunnel = await stranger.tunnel(f"management.arcgate.test:{port}")
        await tunnel.close()
        _, body = await stranger.connect("management.azure.com:443")
        assert error_of(body)["code"] == Reason.CERTIFICATE_REQUIRED
        await node.wait_for_record(Event.END)
        assert (await node.wait_for_record(Event.START)).feature == "ControlPlane"


async def test_a_machine_of_another_gateway_is_refused(node: GatewayNode) -> None:
    client = node.enrol()
    node.publish_machine(client.machine_id, gateway="another")
    _, body = await client.connect("management.azure.com:443")
    assert error_of(body)["code"] == Reason.NOT_ASSOCIATED


async def test_a_machine_that_was_deleted_is_refused(node: GatewayNode) -> None:
    client = node.enrol()
    node.publish((Kind.MACHINE, client.machine_id, None))
    _, body = await client.connect("management.azure.com:443")
    assert error_of(body)["code"] == Reason.MACHINE_UNKNOWN


async def test_a_machine_of_another_tenant_is_unknown(node: GatewayNode) -> None:
    machine_id = str(uuid4())
    certificate, serial = node.machines.issue(machine_id, tenant=str(uuid4()))
    node.publish_machine(machine_id)
    _, body = await Client(node, certificate, machine_id, serial).connect("management.azure.com:443")
    assert error_of(body)["code"] == Reason.MACHINE_UNKNOWN


async def test_a_revoked_certificate_is_refused_over_the_wire(node: GatewayNode) -> None:
    client = node.enrol()
    node.publish_machine(client.machine_id, revoked=(client.serial,))
    _, body = await client.connect("management.azure.com:443")
    assert error_of(body)["code"] == Reason.CERTIFICATE_REVOKED


async def test_an_expired_certificate_does_not_pass_the_handshake(node: GatewayNode) -> None:
    client = node.enrol(life=timedelta(seconds=-1))
    with pytest.raises((StreamReset, ssl.SSLError), match=r"(?i)expired"):
        await client.connect("management.azure.com:443")


async def test_a_certificate_of_a_foreign_authority_does_not_pass_the_handshake(
    node: GatewayNode, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    machine_id = str(uuid4())
    node.publish_machine(machine_id)
    certificate, serial = type(node.machines)(foreign).issue(machine_id)
    with pytest.raises((StreamReset, ssl.SSLError)):
        await Client(node, certificate, machine_id, serial).connect("management.azure.com:443")
    assert node.records() == []


async def test_an_unknown_gateway_name_is_refused_with_its_reason(node: GatewayNode) -> None:
    stream = await node.enrol().open("nobody.gw.arcgate.test")
    await stream.send(connect_request("management.azure.com:443"))
    head, body = await read_head(stream)
    while data := await stream.receive():
        body += data
    await stream.close()
    assert (head.status, error_of(body)["code"]) == (403, Reason.GATEWAY_UNKNOWN)


async def test_a_name_that_is_nobodys_gets_a_tls_alert(node: GatewayNode) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized name"):
        await node.stranger().open("www.example.com")


async def test_names_of_the_control_plane_are_passed_on_undecrypted(node: GatewayNode, authority: Authority) -> None:
    context = server_context(*authority.issue("management.arcgate.test"))

    async def control_plane(stream: ByteStream) -> None:
        tls = TlsStream(stream, context, server_side=True)
        await tls.handshake()
        await tls.send(b"control plane here")
        await tls.end()
        await tls.receive()

    async with target(control_plane) as port:
        node.control_port = port
        stream = await node.stranger().open("management.arcgate.test")
        assert await read_all(stream) == b"control plane here"
        await stream.end()
        await stream.close()


async def test_no_policy_lets_nothing_through(node: GatewayNode) -> None:
    client = node.enrol()
    node.policy = Policy(Snapshot(), shipped_catalogue())
    head, body = await client.connect("management.azure.com:443")
    assert (head.status, error_of(body)["code"]) == (503, Reason.NO_POLICY)


async def test_a_full_spool_lets_nothing_through_unrecorded(node: GatewayNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_line: str) -> None:
        raise OSError(28, "No space left on device")

    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        with monkeypatch.context() as patched:
            patched.setattr(node.spool, "_write_line", no_space)
            head, body = await client.connect(f"127.0.0.1:{port}")
            assert (head.status, error_of(body)["code"]) == (503, Reason.AUDIT_UNAVAILABLE)
        tunnel = await client.tunnel(f"127.0.0.1:{port}")
        await tunnel.close()
        await node.wait_for_record(Event.END)


async def test_a_name_that_does_not_resolve_says_so(node: GatewayNode) -> None:
    head, body = await node.enrol().connect("management.azure.com:443")
    assert (head.status, error_of(body)["code"]) == (502, Reason.DNS_FAILED)


async def test_a_silent_name_server_is_not_waited_for_longer_than_set(node: GatewayNode) -> None:
    node.resolver.is_silent = True
    head, body = await node.enrol().connect("management.azure.com:443")
    assert (head.status, error_of(body)["code"]) == (502, Reason.DNS_FAILED)


async def test_a_slow_name_does_not_delay_another(node: GatewayNode) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        node.resolver.is_silent = True
        slow = [asyncio.get_running_loop().create_task(client.connect("management.azure.com:443")) for _ in range(20)]
        await until(lambda: len(node.resolver.asked) == 20)
        tunnel = await client.tunnel(f"127.0.0.1:{port}")
        assert not any(task.done() for task in slow)
        await tunnel.close()
        await asyncio.gather(*slow)


async def test_a_target_that_refuses_is_named(node: GatewayNode) -> None:
    async with target(echo) as port:
        pass
    node.publish_endpoints(f"127.0.0.1:{port}")
    head, body = await node.enrol().connect(f"127.0.0.1:{port}")
    assert (head.status, error_of(body)["code"]) == (502, Reason.TARGET_REFUSED)


async def test_the_limit_of_tunnels_refuses_the_next_one(authority: Authority, tmp_path: Path) -> None:
    async with gateway_node(authority, tmp_path, most_tunnels=1) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        first = await client.tunnel(f"127.0.0.1:{port}")
        head, body = await client.connect(f"127.0.0.1:{port}")
        assert (head.status, error_of(body)["code"]) == (503, Reason.LIMIT_REACHED)
        assert head.first("retry-after")
        await first.close()
        await node.wait_for_record(Event.END)


@pytest.mark.parametrize(
    ("limits", "words"), [((1, 100), "1 tunnels open"), ((100, 1), "more than 1 tunnels a second")]
)
async def test_a_machine_that_takes_more_than_its_part_is_refused_and_others_are_not(
    authority: Authority, tmp_path: Path, limits: tuple[int, int], words: str
) -> None:
    async with gateway_node(authority, tmp_path, machine_limits=limits) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        greedy, other = node.enrol(), node.enrol()
        first = await greedy.tunnel(f"127.0.0.1:{port}")
        head, body = await greedy.connect(f"127.0.0.1:{port}")
        assert (head.status, error_of(body)["code"]) == (503, Reason.LIMIT_REACHED)
        assert words in error_of(body)["detail"]
        assert head.first("retry-after")
        second = await other.tunnel(f"127.0.0.1:{port}")
        await first.close()
        await second.close()
        await node.wait_for_record(Event.END, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("feature", EndReason.TARGET_NOT_ALLOWED),
        ("association", EndReason.ASSOCIATION_REMOVED),
        ("revocation", EndReason.CERTIFICATE_REVOKED),
        ("machine", EndReason.MACHINE_DELETED),
        ("gateway", EndReason.GATEWAY_DELETED),
    ],
)
async def test_a_change_that_forbids_a_live_tunnel_cuts_it_with_the_reason(
    node: GatewayNode, change: str, reason: EndReason
) -> None:
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client, other = node.enrol(), node.enrol()
        tunnel = await client.tunnel(f"127.0.0.1:{port}")
        bystander = (
            await other.tunnel(f"127.0.0.1:{port}") if change in {"association", "revocation", "machine"} else None
        )
        match change:
            case "feature":
                node.publish_endpoints("somewhere.else.example:443")
            case "association":
                node.publish_machine(client.machine_id, gateway=None)
            case "revocation":
                node.publish_machine(client.machine_id, revoked=(client.serial,))
            case "machine":
                node.publish((Kind.MACHINE, client.machine_id, None))
            case "gateway":
                node.publish((Kind.GATEWAY, PREFIX, None))
        with pytest.raises(StreamReset):
            await tunnel.receive()
        await tunnel.close()
        assert (await node.wait_for_record(Event.END)).reason == reason
        if bystander is not None:
            await bystander.send(b"still here")
            assert await bystander.receive() == b"still here"
            await bystander.close()
            await node.wait_for_record(Event.END, 2)


async def test_a_drained_node_cuts_what_is_left_and_records_it(authority: Authority, tmp_path: Path) -> None:
    async with target(echo) as port, gateway_node(authority, tmp_path) as node:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        await node.listener.stop(0)
        assert (await node.wait_for_record(Event.END)).reason == EndReason.SHUTDOWN
        await tunnel.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"connect management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\n\r\n", 400),
        (b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT management.azure.com:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n", 400),
        (b"CONNECT management.azure.com:443 HTTP/2.0\r\nHost: management.azure.com:443\r\n\r\n", 400),
        (b"CONNECT management.azure.com:443 HTTP/1.1\nHost: management.azure.com:443\n\n\r\n\r\n", 400),
        (b"CONNECT management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\nX: " + b"a" * 20_000, 431),
        (b"CONNECT management.azure.com:443 HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_other_requests_get_a_clear_answer_and_the_connection_ends(
    node: GatewayNode, request_bytes: bytes, status: int
) -> None:
    head, body = await node.enrol().ask(request_bytes)
    assert head.status == status
    assert b"Traceback" not in body


async def test_a_head_that_does_not_come_is_answered_and_closed(authority: Authority, tmp_path: Path) -> None:
    async with gateway_node(authority, tmp_path, timeouts=QUICK) as node:
        head, body = await node.enrol().ask(b"CONNECT management.az")
        assert (head.status, error_of(body)["code"]) == (408, Reason.HEAD_TIMEOUT)


async def test_a_client_that_says_nothing_is_let_go(authority: Authority, tmp_path: Path) -> None:
    async with gateway_node(authority, tmp_path, timeouts=QUICK) as node:
        _, writer = await asyncio.open_connection("127.0.0.1", node.port)  # noqa: TID251 - a raw client
        await until(lambda: node.listener.open_connections == 1)
        await until(lambda: node.listener.open_connections == 0)
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_never_reads_holds_little(node: GatewayNode) -> None:
    sent = 0

    async def flood(stream: ByteStream) -> None:
        nonlocal sent
        while True:
            await stream.send(bytes(65_536))
            sent += 65_536

    async with target(flood) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        before = -1
        while before != sent:  # the flood stands still once every buffer on the way is full
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 32 * 1024 * 1024  # socket buffers of four kernel queues; nothing piles up in the process
        tunnel.abort()
        await node.wait_for_record(Event.END)


async def test_an_idle_tunnel_ends_after_the_set_time(authority: Authority, tmp_path: Path) -> None:
    async with gateway_node(authority, tmp_path, idle_timeout=0.2) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")
        with pytest.raises(StreamReset):
            await tunnel.receive()
        await tunnel.close()
        assert (await node.wait_for_record(Event.END)).reason == EndReason.IDLE_TIMEOUT


async def test_curl_works_as_a_generic_https_proxy_client(node: GatewayNode, authority: Authority) -> None:
    body = b"from the target\n"

    async def http(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await stream.end()
        await read_all(stream)

    async with target(http) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        client = node.enrol()
        process = await asyncio.create_subprocess_exec(
            "curl",
            "--silent",
            "--show-error",
            "--proxytunnel",
            *("--proxy", f"https://{NAME}:{node.port}"),
            *("--connect-to", f"{NAME}:{node.port}:127.0.0.1:{node.port}"),
            *("--resolve", f"{NAME}:{node.port}:127.0.0.1"),
            *("--proxy-cacert", str(authority.file)),
            *("--proxy-cert", str(client.certificate)),
            f"http://127.0.0.1:{port}/",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (out, err) == (body, b"")
        end = await node.wait_for_record(Event.END)
    assert end.reason == EndReason.COMPLETED
