"""What Arc Proxy dials for its clients: never itself, never a metadata service, by whatever name."""

import pytest

from arcgate.agent.hops import Hops
from arcgate.agent.surroundings import Surroundings
from arcgate.agent.trust import Trust
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.core.routing import Goal, Routing
from arcgate.core.urls import parse_url
from arcgate.net.enterprise_proxies import NOT_WORKING
from worlds.agent_machine import TableResolver, address
from worlds.fake_gateway import closed_port

pytestmark = pytest.mark.anyio

NOW = Surroundings(Routing(Goal(), own_ports=frozenset({40343})))


def _hops(*addresses: str) -> Hops:
    return Hops(TableResolver({"a.example.com": [address(one) for one in addresses]}), Trust())


@pytest.mark.parametrize(
    "where", ["169.254.169.254", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254"]
)
async def test_names_that_lead_to_no_service_are_refused(where: str) -> None:
    with pytest.raises(HopError) as caught:
        await _hops(where).dial_target(parse_target("a.example.com:80"), NOW)
    assert (caught.value.hop, caught.value.code) == (Hop.POLICY, "ADDRESS_NOT_ALLOWED")


@pytest.mark.parametrize("where", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_back_to_arc_proxy_is_refused(where: str) -> None:
    with pytest.raises(HopError) as caught:
        await _hops(where).dial_target(parse_target("a.example.com:40343"), NOW)
    assert caught.value.code == "ADDRESS_NOT_ALLOWED"


async def test_of_several_addresses_the_proper_ones_are_tried() -> None:
    target = parse_target(f"a.example.com:{closed_port()}")
    with pytest.raises(HopError) as caught:
        await _hops("169.254.169.254", "127.0.0.1").dial_target(target, NOW)
    assert caught.value.code == "TCP_REFUSED"
    assert "169.254" not in caught.value.sentence


async def test_a_proxy_whose_name_is_unknown_is_a_failure_of_the_proxy() -> None:
    with pytest.raises(HopError) as caught:
        await _hops().dial_proxy(parse_url("http://user:secret@proxy.example.com:3128"), NOW)
    assert caught.value.hop is Hop.PROXY
    assert "could not be resolved" in caught.value.cause
    assert "secret" not in caught.value.one_line()


async def test_no_proxy_is_blamed_when_we_have_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(*_: object) -> None:
        raise HopError(Hop.TCP, "NO_DESCRIPTORS", "No descriptor.", remedy="Raise the limit.")

    monkeypatch.setattr("arcgate.agent.hops.dial", dial)
    with pytest.raises(HopError) as caught:
        await _hops("192.0.2.1").dial_proxy(parse_url("http://a.example.com:3128"), NOW)
    assert caught.value.code == "NO_DESCRIPTORS"
    assert caught.value.code not in NOT_WORKING
