"""The agent's own connections: by Arc Proxy, the gateway, the cloud's front, and never by a way that nobody set."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from arcgate.agent.outbound import Outbound
from arcgate.agent.state import ServiceLock
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import Hop, HopError, StateError
from arcgate.core.names import parse_target
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.files import write_json
from arcgate.net.streams import ByteStream
from worlds.agent_machine import AgentMachine, address, agent_machine, echo, read_all, target
from worlds.authority import Authority
from worlds.fake_gateway import FakeGateway, closed_port, fake_gateway
from worlds.fake_proxy import fake_proxy
from worlds.waiting import until

pytestmark = pytest.mark.anyio

HIS = "gbl.his.arcgate.test:443"
FRONT = "front.gw.arcgate.test:443"


@pytest.fixture(scope="module")
def machine_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("machines"))


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority, machine_authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        one.set_certificate(machine_authority)
        yield one


@pytest.fixture
async def gateway(
    machine: AgentMachine, authority: Authority, machine_authority: Authority
) -> AsyncIterator[FakeGateway]:
    async with fake_gateway(authority, machine_authority) as one, target(echo) as port:
        one.ports[HIS] = port
        machine.set_goal(port=one.port, control=("*.his.arcgate.test",))
        yield one


@pytest.fixture
async def front(authority: Authority, machine_authority: Authority) -> AsyncIterator[FakeGateway]:
    async with fake_gateway(authority, machine_authority) as one, target(echo) as port:
        one.ports[HIS] = port
        yield one


def _outbound(machine: AgentMachine) -> Outbound:
    return outbound_for_agent(machine.paths, machine.environment, resolver=machine.resolver)


async def _open(machine: AgentMachine, name: str = HIS) -> ByteStream:
    return await _outbound(machine).open_for_agent(parse_target(name))


async def _works(stream: ByteStream) -> bool:
    await stream.send(b"hello")
    await stream.end()
    answer = await read_all(stream)
    await stream.close()
    return answer == b"hello"


async def test_with_arc_proxy_running_the_agent_goes_through_it(machine: AgentMachine, gateway: FakeGateway) -> None:
    with ServiceLock(machine.paths.arcproxyd_lock):
        assert await _works(await _open(machine))
    await until(lambda: len(machine.request_lines()) == 1)
    assert HIS in machine.request_lines()[0]


async def test_an_arc_proxy_that_does_not_listen_yet_is_not_waited_for(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    state = {"pid": 1, "goalRevision": 1, "listen": [], "port": closed_port()}
    write_json(machine.paths.arcproxy_state, state)
    with ServiceLock(machine.paths.arcproxyd_lock):
        assert await _works(await _open(machine))
    assert gateway.subjects == ["machine-one"]
    assert machine.request_lines() == []


async def test_without_arc_proxy_the_agent_goes_to_the_gateway_itself(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    assert await _works(await _open(machine))
    assert gateway.subjects == ["machine-one"]
    assert machine.request_lines() == []


async def test_a_refusal_by_way_of_arc_proxy_still_names_its_hop(machine: AgentMachine, gateway: FakeGateway) -> None:
    with ServiceLock(machine.paths.arcproxyd_lock):
        gateway.refusals["eastus.his.arcgate.test:443"] = Verdict(Reason.TARGET_TIMEOUT)
        with pytest.raises(HopError) as caught:
            await _open(machine, "eastus.his.arcgate.test:443")
        assert caught.value.hop is Hop.TARGET
        await gateway.kill()
        with pytest.raises(HopError) as caught:
            await _open(machine)
        assert caught.value.hop is Hop.TCP
        assert "listens on this port" in caught.value.remedy


async def test_before_there_is_a_gateway_control_hosts_are_reached_by_the_front_without_a_certificate(
    machine: AgentMachine, front: FakeGateway
) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{front.port}")
    assert await _works(await _open(machine))
    assert front.subjects == [""]


async def test_the_way_to_the_front_leads_through_the_enterprise_proxy(
    machine: AgentMachine, front: FakeGateway
) -> None:
    async with fake_proxy() as proxy:
        proxy.ports[FRONT] = front.port
        machine.set_cloud(front=FRONT)
        machine.set(proxy_url=proxy.url)
        assert await _works(await _open(machine))
    assert proxy.heads[0].target == FRONT.encode()


async def test_a_front_that_fails_is_an_error_and_nothing_is_tried_directly(machine: AgentMachine) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{closed_port()}")
    with pytest.raises(HopError) as caught:
        await _open(machine)
    assert caught.value.hop is Hop.TCP
    assert machine.resolver.asked == []


async def test_a_machine_whose_gateway_is_gone_still_reaches_its_control_plane_by_the_front(
    machine: AgentMachine, gateway: FakeGateway, front: FakeGateway
) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{front.port}")
    gateway.refusals[HIS] = Verdict(Reason.GATEWAY_UNKNOWN)
    del gateway.ports[HIS]
    assert await _works(await _open(machine))
    await gateway.kill()
    assert await _works(await _open(machine))
    assert front.subjects == ["", ""]


async def test_without_a_front_a_gateway_that_fails_is_an_error(machine: AgentMachine, gateway: FakeGateway) -> None:
    await gateway.kill()
    with pytest.raises(HopError) as caught:
        await _open(machine)
    assert caught.value.hop is Hop.TCP


async def test_an_enterprise_proxy_that_fails_is_an_error(machine: AgentMachine) -> None:
    machine.set(proxy_url=f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(HopError) as caught:
        await _open(machine)
    assert caught.value.hop is Hop.PROXY
    assert machine.resolver.asked == []


async def test_hosts_of_others_are_not_sent_to_the_front(machine: AgentMachine, front: FakeGateway) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{front.port}")
    async with target(echo) as port:
        machine.resolver.addresses["else.example.com"] = [address("127.0.0.1")]
        assert await _works(await _open(machine, f"else.example.com:{port}"))
    assert front.requests == []


async def test_nothing_is_opened_while_the_settings_that_decide_the_way_can_not_be_read(
    machine: AgentMachine, front: FakeGateway
) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{front.port}")
    machine.paths.local_configuration.write_text("{")
    with pytest.raises(StateError):
        await _open(machine)
    assert front.requests == []
    assert machine.resolver.asked == []


async def test_a_damaged_goal_does_not_keep_the_agent_from_asking_for_it_again(
    machine: AgentMachine, front: FakeGateway
) -> None:
    machine.set_cloud(front=FRONT, address=f"127.0.0.1:{front.port}")
    machine.paths.goal.write_text("{")
    assert await _works(await _open(machine))


async def test_a_machine_wide_proxy_variable_that_names_arc_proxy_makes_no_loop(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.environment["HTTPS_PROXY"] = f"http://localhost:{machine.port}"
    outbound = _outbound(machine)
    assert outbound.surroundings.proxy is None
    assert await _works(await outbound.open_for_agent(parse_target(HIS)))


async def test_a_certificate_that_a_gateway_wants_and_we_have_not_is_said(
    machine: AgentMachine, authority: Authority, machine_authority: Authority
) -> None:
    async with fake_gateway(authority, machine_authority, certificate_required=True) as strict:
        machine.set_goal(port=strict.port, control=("*.his.arcgate.test",))
        machine.paths.machine_certificate.unlink()
        with pytest.raises(HopError) as caught:
            await _open(machine)
    assert caught.value.code == "GATEWAY_REFUSED_CERTIFICATE"
    assert "azcmagent connect" in caught.value.remedy


async def test_a_damaged_certificate_file_is_named(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.paths.machine_certificate.write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(StateError) as caught:
        await _open(machine)
    assert caught.value.code == "TLS_FILE_UNUSABLE"


async def test_a_renewed_certificate_is_shown_from_the_next_channel_on(
    machine: AgentMachine, gateway: FakeGateway, machine_authority: Authority
) -> None:
    outbound = _outbound(machine)
    assert await _works(await outbound.open_for_agent(parse_target(HIS)))
    machine.set_certificate(machine_authority, "machine-renewed")
    assert await _works(await outbound.open_for_agent(parse_target(HIS)))
    assert gateway.subjects == ["machine-one", "machine-renewed"]


async def test_what_proxy_bypass_names_is_reached_without_the_proxy_even_the_gateway(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.set(proxy_url=f"http://127.0.0.1:{closed_port()}", proxy_bypass=["127.0.0.1"])
    assert await _works(await _open(machine))


async def test_surroundings_are_values_that_can_be_replaced(machine: AgentMachine, gateway: FakeGateway) -> None:
    now = _outbound(machine).surroundings
    assert now.gateway is not None
    assert now.gateway.name == "prefix.gw.arcgate.test"
    moved = replace(now, gateway_address=None)
    assert moved.gateway is not None
    assert moved.gateway.dialled == parse_target("prefix.gw.arcgate.test:443")
