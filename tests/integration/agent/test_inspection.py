"""Arc Proxy behind somebody who opens TLS, in front of a real gateway node: refused, or trusted on purpose."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping

from arcgate.agent.check.command import Options, run
from arcgate.agent.http import client
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.audit import Event
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.core.verdicts import Reason
from arcgate.net.files import read_json, write_json
from arcgate.net.messages import MessageStream
from arcgate.wire.claims import PROCESS_FIELD
from arcgate.wire.messages import MessageCodec
from worlds.agent_machine import AgentMachine, address, agent_machine, echo, error_of, read_all, target
from worlds.authority import Authority
from worlds.gateway_node import NAME, GatewayNode, gateway_node
from worlds.inspecting_middle import InspectingMiddle, Rewriter, inspecting_middle
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@dataclass
class Enterprise:
    """A machine, the one in the middle, and a gateway; `place` is a target that answers with what it gets."""

    machine: AgentMachine
    middle: InspectingMiddle
    node: GatewayNode
    place: str
    ca: Path
    port: int
    """Of the one in the middle."""

    def trust(self) -> None:
        """Do what the admin does who trusts the inspection on purpose, on the machine and at the gateway."""
        self.machine.set(inspection_ca=str(self.ca))
        self.node.publish_gateway(signedChannels=True)

    async def connect(self) -> bytes:
        return await self.machine.ask(f"CONNECT {self.place} HTTP/1.1\r\nHost: {self.place}\r\n\r\n".encode())

    async def carries(self, data: bytes) -> bool:
        client, _ = await self.machine.tunnel(self.place)
        try:
            await client.send(data)
            await client.end()
            return await read_all(client) == data
        finally:
            await client.close()


@pytest.fixture
async def enterprise(authority: Authority, tmp_path: Path) -> AsyncIterator[Enterprise]:
    folder = tmp_path / "enterprise"
    folder.mkdir()
    inspection = Authority(folder)
    async with (
        gateway_node(authority, tmp_path) as node,
        inspecting_middle(inspection, authority, node.port, NAME) as (middle, port),
        agent_machine(tmp_path, authority) as machine,
        target(echo) as echoing,
    ):
        place = f"127.0.0.1:{echoing}"
        node.publish_endpoints(place)
        node.take_in(machine.paths)
        machine.set_goal(place, port=port, host=NAME)
        yield Enterprise(machine, middle, node, place, inspection.file, port)


async def test_without_trust_the_refusal_and_the_log_say_whose_certificate_came(enterprise: Enterprise) -> None:
    error = error_of(await enterprise.connect())
    assert error["code"] == "tls_intercepted"
    assert error["hop"] == "TLS"
    assert "issuer 'Testing CA" in error["detail"] or "issuer 'trustme" in error["detail"]
    assert "SHA-256" in error["detail"]
    assert NAME in error["remedy"]
    assert any("sha256=" in line and "issuer=" in line for line in enterprise.machine.log_lines())
    assert not enterprise.middle.seen


async def test_trusted_on_purpose_requests_are_signed_and_carried(enterprise: Enterprise) -> None:
    enterprise.trust()
    for size in (5, 1_000_000):
        assert await enterprise.carries(bytes(size))
    record = await enterprise.node.wait_for_record(Event.END, 2)
    assert record.authentication == "signature"
    assert enterprise.machine.log_lines()
    assert any("TLS is inspected" in line for line in enterprise.machine.log_lines())


async def test_a_silent_tunnel_pings_and_goes_on(enterprise: Enterprise, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_alive = MessageStream.keep_alive
    monkeypatch.setattr(MessageStream, "keep_alive", lambda stream, seconds: keep_alive(stream, seconds / 1000))
    enterprise.trust()
    client, _ = await enterprise.machine.tunnel(enterprise.place)
    await until(lambda: _pings(enterprise.middle) >= 3)
    await client.send(b"hello")
    await client.end()
    assert await read_all(client) == b"hello"
    await client.close()
    assert (await enterprise.node.wait_for_record(Event.END)).reason == "completed"


def _pings(middle: InspectingMiddle) -> int:
    """Count the pings that the client has sent so far on its one channel."""
    received = Connection(ConnectionType.SERVER)
    received.receive_data(bytes(middle.seen).partition(b"\r\n\r\n")[2])
    return sum(isinstance(event, Ping) for event in received.events())


async def test_which_process_it_was_is_not_told_where_somebody_could_read_and_change_it(enterprise: Enterprise) -> None:
    enterprise.trust()
    enterprise.machine.set(inspection_ca=str(enterprise.ca), arcproxy_audit_process=True)
    assert await enterprise.carries(b"hello")
    _, _, messages = bytes(enterprise.middle.seen).partition(b"\r\n\r\n")
    sent = b"".join(MessageCodec(is_client=False).feed(messages))
    assert b"CONNECT" in sent
    assert PROCESS_FIELD.encode() not in sent


async def test_one_signed_channel_serves_one_tunnel_after_the_other(enterprise: Enterprise) -> None:
    enterprise.trust()
    for _ in range(3):
        assert await enterprise.carries(b"hello")
    # One that was refused by the ordinary trust, and the one that carries.
    assert enterprise.middle.connections == 2


async def test_a_gateway_that_does_not_allow_it_is_named(enterprise: Enterprise) -> None:
    enterprise.machine.set(inspection_ca=str(enterprise.ca))
    error = error_of(await enterprise.connect())
    assert error["code"] == Reason.SIGNED_CHANNEL_NOT_ALLOWED
    assert "--signed-channels allowed" in error["remedy"]


async def test_where_tls_is_not_opened_the_certificate_serves_as_ever(enterprise: Enterprise) -> None:
    enterprise.trust()
    enterprise.middle.is_off = True
    assert await enterprise.carries(b"hello")
    assert (await enterprise.node.wait_for_record(Event.END)).authentication == "certificate"


async def test_inspection_that_begins_and_ends_is_followed(enterprise: Enterprise) -> None:
    enterprise.trust()
    enterprise.machine.set(arcproxy_channels=0)
    for count, is_off in enumerate((True, False, True), 1):
        enterprise.middle.is_off = is_off
        assert await enterprise.carries(b"hello")
        record = await enterprise.node.wait_for_record(Event.END, count)
        assert record.authentication == ("certificate" if is_off else "signature")


async def test_an_inspection_that_the_system_trusts_is_found_all_the_same(enterprise: Enterprise) -> None:
    machine, inspection = enterprise.machine, enterprise.ca.read_text()
    cloud = read_json(machine.paths.clouds / "test.json")
    write_json(machine.paths.clouds / "test.json", {**cloud, "ca": cloud["ca"] + inspection})
    machine.set()  # it looks at its files
    error = error_of(await enterprise.connect())
    assert (error["code"], error["hop"]) == ("tls_intercepted", "TLS")
    assert "SHA-256" in error["detail"]
    report = await run(machine.paths, {}, resolver=machine.resolver)
    failure = report.rows[0].failure
    assert failure is not None
    assert (failure.hop, failure.code) == (Hop.TLS, "TLS_INTERCEPTED")
    assert "another certificate" in failure.cause


async def test_check_tells_inspection_that_is_allowed_from_one_that_is_not(enterprise: Enterprise) -> None:
    enterprise.machine.set(inspection_ca=str(enterprise.ca))
    report = await run(enterprise.machine.paths, {}, resolver=enterprise.machine.resolver)
    refused = report.rows[0].failure
    assert refused is not None
    assert (refused.hop, refused.code) == (Hop.GATEWAY, "SIGNED_CHANNEL_NOT_ALLOWED")
    enterprise.trust()
    options = Options(extra=(parse_target(enterprise.place),))
    report = await run(enterprise.machine.paths, {}, options, resolver=enterprise.machine.resolver)
    for name in (NAME, enterprise.place):
        row = next(row for row in report.rows if row.endpoint.name == name)
        assert row.is_reachable, row.explanation()
        assert "inspected by" in row.cells()[3]
        assert row.inspected_by
    assert (await enterprise.node.wait_for_record(Event.END)).authentication == "signature"


async def test_a_target_that_is_changed_on_the_way_is_refused(enterprise: Enterprise) -> None:
    enterprise.trust()
    enterprise.middle.up = Rewriter(lambda data: data.replace(enterprise.place.encode(), b"127.0.0.1:9"))
    assert error_of(await enterprise.connect())["code"] == Reason.PROOF_INVALID
    assert (await enterprise.node.wait_for_record(Event.REFUSAL)).target == "127.0.0.1:9"


async def test_a_request_that_is_repeated_on_the_way_is_refused(enterprise: Enterprise) -> None:
    enterprise.trust()
    requests: list[bytes] = []

    def first_again(data: bytes) -> bytes:
        if data.startswith(b"CONNECT "):
            requests.append(data)
            return requests[0]
        return data

    enterprise.middle.up = Rewriter(first_again)
    assert await enterprise.carries(b"hello")
    assert error_of(await enterprise.connect())["code"] == Reason.PROOF_INVALID
    assert len(requests) == 2


async def test_another_ca_than_the_trusted_one_stays_refused(enterprise: Enterprise, tmp_path: Path) -> None:
    enterprise.trust()
    enterprise.middle.authority = Authority(tmp_path)
    assert error_of(await enterprise.connect())["code"] == "tls_intercepted"


async def test_a_damaged_file_trusts_nobody(enterprise: Enterprise) -> None:
    enterprise.ca.write_text("no certificate")
    enterprise.trust()
    assert error_of(await enterprise.connect())["code"] == "tls_intercepted"
    assert any("INSPECTION_CA_UNUSABLE" in line for line in enterprise.machine.log_lines())


async def test_the_agents_own_requests_trust_the_ca_where_no_gateway_is_on_the_way(enterprise: Enterprise) -> None:
    machine = enterprise.machine
    outbound = outbound_for_agent(machine.paths, machine.environment, resolver=machine.resolver)
    machine.set_goal()  # without a gateway
    machine.resolver.addresses[NAME] = [address("127.0.0.1")]
    http = client(outbound, machine.cloud_authority.pem)
    url = f"https://{NAME}:{enterprise.port}/healthz"
    with pytest.raises(HopError) as caught:
        await http.request("GET", url)
    assert caught.value.code == "TLS_INTERCEPTED"
    assert "SHA-256" in caught.value.cause
    enterprise.trust()
    assert (await http.request("GET", url)).is_success
    assert b"GET /healthz" in enterprise.middle.seen


async def test_through_a_gateway_the_agents_own_tls_is_the_clouds_alone(enterprise: Enterprise) -> None:
    enterprise.trust()
    machine = enterprise.machine
    outbound = outbound_for_agent(machine.paths, machine.environment, resolver=machine.resolver)
    machine.set_goal(enterprise.place, port=enterprise.port, host=NAME)
    http = client(outbound, machine.cloud_authority.pem)
    assert http.context_for(parse_target(enterprise.place)) is http.context


async def test_a_proxy_that_lets_no_websocket_through_is_told_so(enterprise: Enterprise) -> None:
    enterprise.trust()
    enterprise.middle.up = lambda data: data.replace(b"Upgrade: websocket", b"X-Removed: websocket")
    error = error_of(await enterprise.connect())
    assert error["code"] == "signed_channel_failed"
    assert "WebSockets" in error["remedy"]
