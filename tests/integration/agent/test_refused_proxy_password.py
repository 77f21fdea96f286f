"""A wrong proxy password, as Arc Proxy, himdsd, `azcmagent check` and `show` meet it together."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from arcgate.agent.check.command import Options, run
from arcgate.agent.platform import current
from arcgate.agent.present import read_facts
from arcgate.agent.show import as_document, fields_of
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.net.streams import SocketStream
from worlds.agent_machine import AgentMachine, agent_machine, error_of, read_all, target
from worlds.authority import Authority
from worlds.fake_proxy import FakeProxy, fake_proxy

pytestmark = pytest.mark.anyio

APP = "app.example.com:443"
CONNECT = f"CONNECT {APP} HTTP/1.1\r\nHost: {APP}\r\n\r\n".encode()
FORWARD = b"GET http://web.example.com/ HTTP/1.1\r\nHost: web.example.com\r\n\r\n"


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        yield one


@pytest.fixture
async def proxy(machine: AgentMachine) -> AsyncIterator[FakeProxy]:
    """A proxy that knows another password than the machine's file."""
    async with fake_proxy() as one:
        one.wants = f"Basic {base64.b64encode(b'user:hunter2right').decode()}"
        tell(machine, "user:hunter2wrong")
        machine.set(proxy_url=one.url)
        yield one


def tell(machine: AgentMachine, line: str) -> None:
    file = machine.paths.proxy_credentials
    file.touch(0o600)
    file.write_text(line + "\n")
    machine.set()


def tries(proxy: FakeProxy) -> int:
    return sum(bool(head.all("proxy-authorization")) for head in proxy.heads)


async def test_arc_proxy_tries_once_and_says_the_rest(machine: AgentMachine, proxy: FakeProxy) -> None:
    first, *others = [await machine.ask(request) for request in (CONNECT, CONNECT, FORWARD)]
    assert tries(proxy) == 1
    assert error_of(first)["code"] == "proxy_authentication_failed"
    for answer in others:
        assert answer.startswith(b"HTTP/1.1 502 ")
        error = error_of(answer)
        assert (error["code"], error["hop"]) == ("proxy_authentication_paused", "proxy")
        assert "the user 'user'" in error["message"]
        assert "isn't locked" in error["detail"]
        assert str(machine.paths.proxy_credentials) in error["remedy"]
    log = machine.paths.arcproxy_log.read_text()
    assert "proxy_authentication_paused" in log
    assert "is not tried more often" in log
    assert "hunter2" not in log + machine.paths.refused_credentials.read_text()


async def test_a_corrected_file_is_taken_at_once(machine: AgentMachine, proxy: FakeProxy) -> None:
    await machine.ask(CONNECT)
    tell(machine, "user:hunter2right")
    async with target(_greet) as port:
        proxy.ports[APP] = port
        client, _ = await machine.tunnel(APP)
        assert await read_all(client) == b"hello"
        await client.close()
    assert not _details(machine)


async def test_another_process_does_not_try_again(machine: AgentMachine, proxy: FakeProxy) -> None:
    await machine.ask(CONNECT)
    himdsd = outbound_for_agent(machine.paths, {}, resolver=machine.resolver)
    with pytest.raises(HopError) as caught:
        await himdsd.open_for_agent(parse_target(APP))
    assert caught.value.code == "PROXY_AUTHENTICATION_PAUSED"
    assert tries(proxy) == 1


async def test_a_check_tries_once_and_blames_the_authentication(machine: AgentMachine, proxy: FakeProxy) -> None:
    await machine.ask(CONNECT)
    report = await run(machine.paths, {}, Options(), resolver=machine.resolver)
    assert tries(proxy) == 2
    assert {row.failure.hop for row in report.rows if row.failure} == {Hop.PROXY_AUTHENTICATION}
    assert "PROXY_AUTHENTICATION_FAILED" in str(report.to_json())
    assert str(machine.paths.proxy_credentials) in "\n".join(report.lines())


async def test_a_check_that_passes_ends_the_pause_of_the_services(machine: AgentMachine, proxy: FakeProxy) -> None:
    await machine.ask(CONNECT)
    proxy.wants = f"Basic {base64.b64encode(b'user:hunter2wrong').decode()}"  # the account was put right, not the file
    async with target(_greet) as port:
        proxy.ports.update(dict.fromkeys((APP, "management.arcgate.test:443"), port))
        assert error_of(await machine.ask(CONNECT))["code"] == "proxy_authentication_paused"
        await run(machine.paths, {}, Options(), resolver=machine.resolver)
        client, _ = await machine.tunnel(APP)
        assert await read_all(client) == b"hello"
        await client.close()


async def test_show_says_who_is_refused_until_when(machine: AgentMachine, proxy: FakeProxy) -> None:
    assert not _details(machine)
    await machine.ask(CONNECT)
    details = _details(machine)
    assert f"{proxy.url} refuses the user 'user'" in details
    assert "UTC" in details


def _details(machine: AgentMachine) -> str:
    facts = read_facts(machine.paths, {}, current(), datetime.now(UTC))
    return str(as_document(fields_of(facts))["errorDetails"])


async def _greet(stream: SocketStream) -> None:
    await stream.send(b"hello")
