"""Which proxy a connection takes: by a PAC file, whose names are looked up for it, or the first that works."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.agent.automatic_proxies import KEPT, AutomaticProxies
from arcgate.agent.proxy_credentials import ProxyCredentials
from arcgate.core.errors import StateError
from arcgate.core.names import parse_target
from arcgate.net.pac import PacFile
from worlds.agent_machine import (
    AgentMachine,
    TableResolver,
    address,
    agent_machine,
    connect_head,
    echo,
    error_of,
    read_all,
    target,
)
from worlds.authority import Authority
from worlds.fake_proxy import fake_proxy
from worlds.scripted import free_port

pytestmark = pytest.mark.anyio

APP = "app.example.com"
BY_ADDRESS = (
    'function FindProxyForURL(url, host) {{ if (isInNet(host, "127.0.0.0", "255.0.0.0")) return "DIRECT"; {} }}'
)


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        yield one


async def echoed(machine: AgentMachine, authority: str) -> bytes:
    client, _ = await machine.tunnel(authority, early=b"hello")
    await client.end()
    try:
        return await read_all(client)
    finally:
        await client.close()


async def test_a_pac_file_sends_some_by_a_proxy_and_others_directly(machine: AgentMachine, tmp_path: Path) -> None:
    file = tmp_path / "proxy.pac"
    machine.resolver.addresses["near.example.com"] = [address("127.0.0.1")]
    machine.resolver.addresses[APP] = [address("192.0.2.1")]
    async with fake_proxy() as proxy, target(echo) as port:
        proxy.ports[f"{APP}:{port}"] = port
        file.write_text(BY_ADDRESS.format(f'return "PROXY 127.0.0.1:{free_port()}; PROXY 127.0.0.1:{proxy.port}"'))
        machine.set(proxy_pac=str(file))
        assert await echoed(machine, f"near.example.com:{port}") == b"hello"
        assert proxy.heads == []
        assert await echoed(machine, f"{APP}:{port}") == b"hello"
    assert [head.target for head in proxy.heads] == [f"{APP}:{port}".encode()]


async def test_a_direct_connection_may_stand_in_for_a_proxy_that_does_not_work(
    machine: AgentMachine, tmp_path: Path
) -> None:
    file = tmp_path / "proxy.pac"
    file.write_text(f'function FindProxyForURL() {{ return "PROXY 127.0.0.1:{free_port()}; DIRECT" }}')
    machine.resolver.addresses[APP] = [address("127.0.0.1")]
    machine.set(proxy_pac=str(file))
    async with target(echo) as port:
        assert await echoed(machine, f"{APP}:{port}") == b"hello"


async def test_a_pac_file_that_can_not_be_used_lets_nothing_out(machine: AgentMachine, tmp_path: Path) -> None:
    file = tmp_path / "proxy.pac"
    file.write_text("no JavaScript")
    machine.resolver.addresses[APP] = [address("127.0.0.1")]
    machine.set(proxy_pac=str(file))
    error = error_of(await machine.ask(connect_head(f"{APP}:443")))
    assert "PAC file" in error["message"]


async def test_the_next_proxy_is_taken_when_the_first_is_dead(machine: AgentMachine) -> None:
    async with fake_proxy() as proxy, target(echo) as port:
        proxy.ports[f"{APP}:{port}"] = port
        machine.set(proxy_url=f"http://127.0.0.1:{free_port()},{proxy.url}")
        for _ in range(2):
            assert await echoed(machine, f"{APP}:{port}") == b"hello"
    assert len(proxy.heads) == 2


async def test_an_answer_holds_for_a_while_and_has_the_credentials() -> None:
    now = 0.0
    resolver = TableResolver({APP: [address("192.0.2.1")]})
    file = PacFile(BY_ADDRESS.format('return "PROXY p.example:3128"'))
    proxies = AutomaticProxies(file, Path("/p"), ProxyCredentials({"": ("user", "secret")}), clock=lambda: now)
    for _ in range(2):
        (proxy,) = await proxies.choices(parse_target(APP, 443), resolver)
        assert proxy is not None
        assert (proxy.user, proxy.password) == ("user", "secret")
    assert resolver.asked == [APP]
    now = KEPT
    await proxies.choices(parse_target(APP, 443), resolver)
    assert resolver.asked == [APP] * 2


async def test_a_file_learns_the_address_that_the_machine_shows_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcgate.agent.automatic_proxies.own_address", lambda: "10.7.7.7")
    file = PacFile(
        'function FindProxyForURL() { return isInNet(myIpAddress(), "10.7.0.0", "255.255.0.0") '
        '? "PROXY near:1" : "PROXY far:1" }'
    )
    found = await AutomaticProxies(file, Path("/proxy.pac")).choices(parse_target("a.example:443"), TableResolver())
    assert [str(one) for one in found] == ["http://near:1"]


async def test_a_file_that_never_knows_enough_is_given_up() -> None:
    script = "function FindProxyForURL(u, h) { for (var i = 0; i < 100; i++) dnsResolve('n' + i); return 'DIRECT' }"
    with pytest.raises(StateError, match="can't be used"):
        await AutomaticProxies(PacFile(script), Path("/p")).choices(parse_target(APP, 443), TableResolver())
