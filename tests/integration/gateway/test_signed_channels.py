"""Signed channels on a gateway node: what a machine's proof opens, and what nobody in the middle can make of it."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arcgate.core.audit import Authentication, Event
from arcgate.core.incoming import WAITING, machine_target
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.streams import StreamReset
from arcgate.wire.claims import PROCESS_FIELD
from arcgate.wire.heads import ResponseHead
from arcgate.wire.incoming import OPENED
from worlds.authority import Authority
from worlds.gateway_node import Client, GatewayNode, Machines, connect_request, gateway_node, read_head, target
from worlds.signed_client import SignedChannelOpener, SignedClient, key_of
from worlds.sockets import echo
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def node(authority: Authority, tmp_path: Path) -> AsyncIterator[GatewayNode]:
    async with gateway_node(authority, tmp_path, audit_process=True) as running:
        running.publish_gateway(signedChannels=True)
        yield running


@pytest.fixture
async def opener(node: GatewayNode) -> AsyncIterator[SignedChannelOpener]:
    async with SignedChannelOpener() as one:
        yield one


@pytest.fixture
async def place(node: GatewayNode) -> AsyncIterator[str]:
    """HOST:PORT of a target that answers with what it is sent."""
    async with target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"


async def carry(channel: SignedClient, data: bytes) -> bytes:
    tunnel = channel.tunnel()
    await tunnel.send(data)
    await tunnel.end()
    got = b""
    while piece := await tunnel.receive():
        got += piece
    assert tunnel.is_reusable
    return got


def reason_of(head: ResponseHead) -> str:
    return head.first("arcgate-reason")


async def test_one_channel_carries_tunnel_after_tunnel_and_the_audit_says_by_what_the_machine_was_known(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    client = node.enrol()
    channel = await opener.open(client)
    for size in (1, 300_000):
        assert (await channel.ask(place)).status == 200
        assert len(await carry(channel, bytes(size))) == size
    end = await node.wait_for_record(Event.END, 2)
    assert (end.machine_id, end.authentication, end.reason) == (
        client.machine_id,
        Authentication.SIGNATURE,
        EndReason.COMPLETED,
    )
    assert {one.authentication for one in node.records()} == {"signature"}


async def test_a_claim_that_somebody_on_the_path_could_have_changed_is_not_taken_down(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    channel.more[PROCESS_FIELD] = "uid=0"
    assert (await channel.ask(place)).status == 200
    await carry(channel, b"hello")
    assert (await node.wait_for_record(Event.END)).process == ""


async def test_a_machine_with_its_certificate_in_tls_is_told_apart_in_the_audit(node: GatewayNode, place: str) -> None:
    tunnel = await node.enrol().tunnel(place)
    await tunnel.end()
    await tunnel.close()
    assert (await node.wait_for_record(Event.END)).authentication == Authentication.CERTIFICATE


async def test_a_gateway_that_does_not_allow_signed_channels_says_so(
    node: GatewayNode, opener: SignedChannelOpener
) -> None:
    node.publish_gateway()
    client = node.enrol()
    _, head, _ = await opener.upgrade(client, key_of(client)[1])
    assert (head.status, reason_of(head)) == (403, Reason.SIGNED_CHANNEL_NOT_ALLOWED)


async def test_taking_the_allowance_back_ends_open_tunnels_and_refuses_the_next_request(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    client = node.enrol()
    channel, other = await opener.open(client), await opener.open(client)
    assert (await channel.ask(place)).status == 200
    node.publish_gateway()
    with pytest.raises(StreamReset):
        await channel.tunnel().receive()
    assert (await node.wait_for_record(Event.END)).reason == EndReason.SIGNED_CHANNEL_NOT_ALLOWED
    head = await other.ask(place)
    assert (head.status, reason_of(head)) == (403, Reason.SIGNED_CHANNEL_NOT_ALLOWED)


@pytest.mark.parametrize("change", ["another target", "another gateway", "too old", "too early", "out of turn"])
async def test_a_proof_of_something_else_is_refused_and_recorded(
    node: GatewayNode, opener: SignedChannelOpener, place: str, change: str
) -> None:
    channel = await opener.open(node.enrol())
    channel.requests = 1
    proof = {
        "another target": channel.proof("127.0.0.1:1", "x" * 16),
        "another gateway": channel.proof(place, "x" * 16, gateway="gw-two.gw.arcgate.test"),
        "too old": channel.proof(place, "x" * 16, ago=301),
        "too early": channel.proof(place, "x" * 16, ago=-320),
        "out of turn": channel.proof(place, "x" * 16, number=2),
    }[change]
    fields = {"Arcgate-Correlation-Id": "x" * 16, "Arcgate-Frames": "1", "Arcgate-Proof": proof}
    head = await channel.send(connect_request(place, **fields))
    assert (head.status, reason_of(head)) == (403, Reason.PROOF_INVALID)
    record = await node.wait_for_record(Event.REFUSAL)
    assert (record.reason, record.machine_id, record.authentication) == (Reason.PROOF_INVALID, "", "")


async def test_a_good_proof_with_the_same_fields_passes(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    channel.requests = 1
    fields = {
        "Arcgate-Correlation-Id": "x" * 16,
        "Arcgate-Frames": "1",
        "Arcgate-Proof": channel.proof(place, "x" * 16),
    }
    assert (await channel.send(connect_request(place, **fields))).status == 200


async def test_a_request_that_is_repeated_on_its_own_channel_is_refused(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    assert (await channel.ask(place)).status == 200
    await carry(channel, b"x")
    assert reason_of(await channel.send(channel.sent[0])) == Reason.PROOF_INVALID


async def test_a_request_that_is_repeated_on_another_channel_is_refused(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    client = node.enrol()
    channel, other = await opener.open(client), await opener.open(client)
    assert (await channel.ask(place)).status == 200
    assert reason_of(await other.send(channel.sent[0])) == Reason.PROOF_INVALID


async def test_requests_without_a_proof_are_refused_on_a_channel_that_had_proven_ones(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    assert (await channel.ask(place)).status == 200
    await carry(channel, b"x")
    assert reason_of(await channel.send(connect_request(place, Arcgate_Frames="1"))) == Reason.PROOF_INVALID


async def test_a_certificate_is_worth_nothing_with_another_key(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    client, thief = node.enrol(), node.enrol()
    stream, _, challenge = await opener.upgrade(client, key_of(client)[1])
    assert stream is not None
    channel = SignedClient(stream, challenge, key_of(thief)[0])
    assert reason_of(await channel.ask(place)) == Reason.PROOF_INVALID


async def test_without_frames_a_signed_channel_takes_no_request(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    assert reason_of(await channel.send(connect_request(place))) == Reason.REQUEST_MALFORMED


async def test_a_client_without_a_certificate_reaches_the_control_plane_alone(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    stream, _, challenge = await opener.upgrade(node.stranger(), None)
    assert stream is not None
    channel = SignedClient(stream, challenge, key_of(node.enrol())[0])
    assert reason_of(await channel.ask(place)) == Reason.CERTIFICATE_REQUIRED


async def test_a_certificate_of_another_authority_opens_no_channel(
    node: GatewayNode, opener: SignedChannelOpener, authority: Authority
) -> None:
    chain, _ = authority.issue("machine.test")
    der = x509.load_pem_x509_certificate(chain.read_bytes()).public_bytes(Encoding.DER)
    _, head, _ = await opener.upgrade(node.stranger(), der)
    assert (head.status, reason_of(head)) == (403, Reason.CERTIFICATE_UNSUITABLE)


async def test_a_machines_certificate_of_another_cloud_opens_no_channel(
    node: GatewayNode, opener: SignedChannelOpener, tmp_path: Path
) -> None:
    machine = node.enrol()
    certificate, serial = Machines(tmp_path).issue(machine.machine_id)
    stranger = Client(node, certificate, machine.machine_id, serial)
    _, head, _ = await opener.upgrade(stranger, key_of(stranger)[1])
    assert (head.status, reason_of(head)) == (403, Reason.CERTIFICATE_UNSUITABLE)


async def test_bytes_that_are_no_certificate_open_no_channel(node: GatewayNode, opener: SignedChannelOpener) -> None:
    _, head, _ = await opener.upgrade(node.stranger(), b"\x30\x03\x02\x01\x01")
    assert (head.status, reason_of(head)) == (403, Reason.CERTIFICATE_UNSUITABLE)


async def test_an_expired_certificate_is_named_so(node: GatewayNode, opener: SignedChannelOpener) -> None:
    client = node.enrol(life=timedelta(seconds=-60))
    _, head, _ = await opener.upgrade(client, key_of(client)[1])
    assert (head.status, reason_of(head)) == (403, Reason.CERTIFICATE_EXPIRED)


async def test_revocation_cuts_tunnels_of_signed_channels_and_refuses_new_ones(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    client = node.enrol()
    channel, other = await opener.open(client), await opener.open(client)
    assert (await channel.ask(place)).status == 200
    node.publish_machine(client.machine_id, revoked=(client.serial,))
    with pytest.raises(StreamReset):
        await channel.tunnel().receive()
    assert (await node.wait_for_record(Event.END)).reason == EndReason.CERTIFICATE_REVOKED
    assert reason_of(await other.ask(place)) == Reason.CERTIFICATE_REVOKED


async def test_bytes_that_are_no_messages_end_the_channel(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    assert (await channel.ask(place)).status == 200
    await channel.stream.inner.send(b"\x02\x05hello")  # a frame without its mask
    with pytest.raises(StreamReset):
        await channel.tunnel().receive()
    assert (await node.wait_for_record(Event.END)).reason == EndReason.CLIENT_RESET


async def test_a_plain_question_tells_the_nodes_own_certificate_and_whether_signed_channels_are_allowed(
    node: GatewayNode, authority: Authority
) -> None:
    request = b"GET /arcgate/channel HTTP/1.1\r\nHost: gw\r\n\r\n"
    head, body = await node.stranger().ask(request)
    assert head.status == 200
    stream = await node.stranger().open()
    shown = stream.tls.getpeercert(binary_form=True)
    await stream.close()
    assert shown is not None
    assert json.loads(body) == {"certificateSha256": hashlib.sha256(shown).hexdigest(), "signedChannels": True}
    node.publish_gateway()
    assert json.loads((await node.stranger().ask(request))[1])["signedChannels"] is False


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_on_the_channels_path_are_refused(node: GatewayNode, method: str) -> None:
    head, _ = await node.stranger().ask(f"{method} /arcgate/channel HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
    assert head.status == 405


async def test_channels_that_are_open_do_not_count_as_tunnels(
    node: GatewayNode, opener: SignedChannelOpener, place: str
) -> None:
    channel = await opener.open(node.enrol())
    assert len(node.open_tunnels) == 0
    assert (await channel.ask(place)).status == 200
    assert len(node.open_tunnels) == 1
    await carry(channel, b"x")
    await until(lambda: len(node.open_tunnels) == 0)


async def test_a_machine_waits_for_incoming_connections_on_a_signed_channel_too(
    node: GatewayNode, opener: SignedChannelOpener
) -> None:
    client = node.enrol()
    node.grants.known["good"] = "ann 1"
    channel = await opener.open(client)
    assert (await channel.ask(WAITING.authority)).status == 200
    waiting = channel.tunnel()
    assert (await waiting.receive()).startswith(b"ping ")
    visitor = await node.stranger().open()
    await visitor.send(connect_request(machine_target(client.machine_id, 22).authority, Arcgate_Grant="good"))
    assert (await waiting.receive()).startswith(b"open 22 ")
    await waiting.send(OPENED + b"SSH-2.0")
    head, rest = await read_head(visitor)
    assert head.status == 200
    assert rest or await visitor.receive() == b"SSH-2.0"
    assert node.records(Event.START)[0].authentication == "signature"
    node.publish_gateway(signedChannels=False)
    with pytest.raises(StreamReset):
        await visitor.receive()
    await visitor.close()
    assert (await node.wait_for_record(Event.END)).reason == EndReason.SIGNED_CHANNEL_NOT_ALLOWED


async def test_nobody_waits_in_a_machine_s_name_without_its_proof(
    node: GatewayNode, opener: SignedChannelOpener
) -> None:
    channel = await opener.open(node.enrol())
    head = await channel.ask(WAITING.authority, proof="1." + "A" * 86)
    assert reason_of(head) == Reason.PROOF_INVALID
    assert len(node.incoming.machines) == 0
