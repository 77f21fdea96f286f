"""CONNECT through Arc Proxy: every way, whole in both directions, and every failure with its hop."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.streams import SocketStream, StreamReset
from worlds.agent_machine import AgentMachine, address, agent_machine, connect_head, echo, error_of, read_all, target
from worlds.authority import Authority
from worlds.fake_gateway import FakeGateway, closed_port, fake_gateway
from worlds.fake_proxy import ESTABLISHED, fake_proxy
from worlds.waiting import until

pytestmark = pytest.mark.anyio

APP = "app.example.com:443"
BULK = bytes(range(256)) * 12_000


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
    async with fake_gateway(authority, machine_authority) as one:
        machine.set_goal("app.example.com", "other.example.com", port=one.port)
        yield one


async def _digest_after_fin(stream: SocketStream) -> None:
    digest = hashlib.sha256(await read_all(stream)).hexdigest()
    await stream.send(digest.encode())
    await stream.end()


async def test_a_target_that_the_gateway_allows_goes_through_it_with_the_machines_certificate(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    async with target(echo) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP, early=b"early ")
        await client.send(b"and late")
        await client.end()
        assert await read_all(client) == b"early and late"
        await client.close()
    assert set(gateway.subjects) == {"machine-one"}  # one more channel may be opened ahead
    await until(lambda: len(machine.request_lines()) == 1)
    line = machine.request_lines()[0]
    assert gateway.requests[0].correlation_id in line
    assert not gateway.requests[0].holds_end
    assert "way=gateway" in line
    assert 'why="the gateway allows it"' in line
    assert "gateway=prefix.gw.arcgate.test status=200 reason=completed bytes_up=14 bytes_down=14" in line


async def test_a_digest_comes_back_after_the_clients_upload_has_ended(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    async with target(_digest_after_fin) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP)
        await client.send(BULK)
        await client.end()
        assert await read_all(client) == hashlib.sha256(BULK).hexdigest().encode()
        await client.close()


async def test_an_upload_goes_on_after_the_target_has_ended_its_direction(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    received = asyncio.get_running_loop().create_future()

    async def speak_first(stream: SocketStream) -> None:
        await stream.send(b"that is all from me")
        await stream.end()
        received.set_result(await read_all(stream))

    async with target(speak_first) as port:
        gateway.ports[APP] = port
        client, rest = await machine.tunnel(APP)
        assert rest + await read_all(client) == b"that is all from me"
        await client.send(BULK)
        await client.end()
        assert await asyncio.wait_for(received, 10) == BULK
        await client.close()


async def test_a_reset_of_the_targets_is_a_reset_for_the_client(machine: AgentMachine, gateway: FakeGateway) -> None:
    async def cut(stream: SocketStream) -> None:
        await stream.receive()
        stream.abort()

    async with target(cut) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP, early=b"x")
        with pytest.raises(StreamReset):
            await client.receive()
        await client.close()
    await until(lambda: len(machine.request_lines()) == 1)
    assert "reason=target_reset" in machine.request_lines()[0]


async def test_the_gateways_refusal_reaches_the_client_as_it_was(machine: AgentMachine, gateway: FakeGateway) -> None:
    gateway.refusals[APP] = Verdict(Reason.NOT_ASSOCIATED, detail="moved")
    answer = await machine.ask(connect_head(APP, "Arcgate-Correlation-Id: my-own-id-1"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Arcgate-Reason: not_associated\r\n" in answer
    assert b"Arcgate-Correlation-Id: my-own-id-1\r\n" in answer
    error = error_of(answer)
    assert error["code"] == "not_associated"
    assert error["detail"] == "moved"
    assert "arcgate setting update" in error["remedy"]
    assert error["correlationId"] == "my-own-id-1"
    assert gateway.requests[0].correlation_id == "my-own-id-1"


async def test_an_unreachable_gateway_is_502_and_never_a_direct_connection(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    await gateway.kill()
    answer = await machine.ask(connect_head(APP))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["hop"] == "TCP"
    assert "listens on this port" in error_of(answer)["remedy"]


async def test_after_the_gateway_was_killed_and_came_back_the_next_request_works(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    async with target(echo) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP)
        await client.send(b"x")
        assert await client.receive() == b"x"
        await gateway.kill()
        with pytest.raises(StreamReset):
            await client.receive()
        await client.close()
        assert (await machine.ask(connect_head(APP))).startswith(b"HTTP/1.1 502 ")
        gateway.start()
        client, _ = await machine.tunnel(APP, early=b"again")
        await client.end()
        assert await read_all(client) == b"again"
        await client.close()


async def test_a_certificate_that_the_gateway_does_not_know_is_named_as_the_reason(
    machine: AgentMachine, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "rogue").mkdir()
    machine.set_certificate(Authority(tmp_path / "rogue"))
    answer = await machine.ask(connect_head(APP))
    assert answer.startswith(b"HTTP/1.1 502 ")
    error = error_of(answer)
    assert error["code"] == "gateway_refused_certificate"
    assert error["hop"] == "gateway"
    assert "connect again" in error["remedy"]


async def test_a_gateway_with_a_certificate_of_strangers_is_not_spoken_to(
    machine: AgentMachine, machine_authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "rogue").mkdir()
    async with fake_gateway(Authority(tmp_path / "rogue"), machine_authority) as rogue:
        machine.set_goal("app.example.com", port=rogue.port)
        error = error_of(await machine.ask(connect_head(APP)))
    assert error["code"] == "tls_intercepted"
    assert error["hop"] == "TLS"
    assert "SHA-256" in error["detail"]  # whose it is: an inspecting proxy's, or an authority that is to be added
    assert rogue.requests == []


async def test_a_gateway_with_a_certificate_of_another_name_is_not_taken_for_an_interception(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.set_goal("app.example.com", port=gateway.port, host="elsewhere.example.com")
    machine.resolver.addresses["elsewhere.example.com"] = [address("127.0.0.1")]
    error = error_of(await machine.ask(connect_head(APP)))
    assert (error["code"], error["hop"]) == ("tls_certificate_refused", "TLS")
    assert "issued by" in error["detail"]
    assert gateway.requests == []


async def test_the_way_to_the_gateway_leads_through_the_enterprise_proxy(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    async with fake_proxy() as proxy, target(echo) as port:
        gateway.ports[APP] = port
        proxy.wants = "Basic dXNlcjpwYXNzIHdvcmQ="
        machine.set(proxy_url=proxy.url.replace("//", "//user:pass%20word@"))
        client, _ = await machine.tunnel(APP, early=b"hello")
        await client.end()
        assert await read_all(client) == b"hello"
        await client.close()
    assert proxy.heads[1].target == b"127.0.0.1:%d" % gateway.port
    assert proxy.heads[1].all("proxy-authorization") == ["Basic dXNlcjpwYXNzIHdvcmQ="]
    assert gateway.requests[-1].holds_end  # so that no end of it cuts the other direction
    assert "pass" not in machine.paths.arcproxy_log.read_text()


async def test_without_a_gateway_requests_go_by_the_enterprise_proxy(machine: AgentMachine) -> None:
    async with fake_proxy() as proxy, target(echo) as port:
        proxy.ports[APP] = port
        machine.set(proxy_url=proxy.url)
        client, _ = await machine.tunnel(APP, early=b"hello")
        await client.end()
        assert await read_all(client) == b"hello"
        await client.close()
    await until(lambda: len(machine.request_lines()) == 1)
    assert 'way="enterprise proxy"' in machine.request_lines()[0]


async def test_without_gateway_and_proxy_requests_go_direct(machine: AgentMachine) -> None:
    machine.resolver.addresses["app.example.com"] = [address("127.0.0.1")]
    async with target(echo) as port:
        client, _ = await machine.tunnel(f"app.example.com:{port}", early=b"hello")
        await client.end()
        assert await read_all(client) == b"hello"
        await client.close()


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nauth", 502, "Let the proxy offer"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403, "Allow CONNECT to"),
        (b"HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\n\r\n<html>later</html>", 503, "Look into the log of"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", 502, "working enterprise proxy"),
        (b"", 502, "working enterprise proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65_536 + b"\r\n\r\n", 502, "working enterprise proxy"),
    ],
)
async def test_what_is_wrong_with_the_enterprise_proxy_is_said(
    machine: AgentMachine, gateway: FakeGateway, answer: bytes, status: int, words: str
) -> None:
    async with fake_proxy(answer) as proxy:
        machine.set(proxy_url=proxy.url)
        received = await machine.ask(connect_head(APP))
    assert received.startswith(b"HTTP/1.1 %d " % status)
    error = error_of(received)
    assert error["hop"] == "proxy"
    assert words in error["remedy"]
    assert gateway.requests == []


async def test_an_enterprise_proxy_that_hangs_is_given_up(machine: AgentMachine, gateway: FakeGateway) -> None:
    async with fake_proxy() as proxy:
        proxy.is_silent = True
        machine.set(proxy_url=proxy.url, arcproxy_timeout_answer=1)
        error = error_of(await machine.ask(connect_head(APP)))
    assert error["code"] == "proxy_failed"
    assert "in 1 s" in error["detail"]


async def test_an_enterprise_proxy_that_is_down_is_named(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set(proxy_url=f"http://127.0.0.1:{closed_port()}")
    error = error_of(await machine.ask(connect_head(APP)))
    assert error["code"] == "proxy_unreachable"
    assert "proxy.url" in error["remedy"]
    assert gateway.requests == []


async def test_interim_answers_and_early_bytes_of_a_proxy_are_no_hindrance(machine: AgentMachine) -> None:
    async def greet(stream: SocketStream) -> None:
        await stream.send(b" and from the target")
        await stream.end()

    async with fake_proxy(b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED + b"early") as proxy, target(greet) as port:
        proxy.ports[APP] = port
        machine.set(proxy_url=proxy.url)
        client, rest = await machine.tunnel(APP)
        assert rest + await read_all(client) == b"early and from the target"
        await client.close()


async def test_changes_of_goal_and_connection_type_hold_for_the_next_tunnel_and_spare_running_ones(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.resolver.addresses["app.example.com"] = [address("127.0.0.1")]
    async with target(echo) as port:
        name = f"app.example.com:{port}"
        gateway.ports[APP] = gateway.ports[name] = port
        machine.set_goal("app.example.com:*", port=gateway.port)
        running, _ = await machine.tunnel(name)
        machine.set(connection_type="direct")
        direct, _ = await machine.tunnel(name, early=b"direct")
        assert await direct.receive() == b"direct"
        await running.send(b"still here")
        assert await running.receive() == b"still here"
        assert len(gateway.requests) == 1
        for client in (running, direct):
            await client.end()
            await read_all(client)
            await client.close()


async def test_a_damaged_goal_keeps_the_old_one_and_is_logged_once(machine: AgentMachine, gateway: FakeGateway) -> None:
    async with target(echo) as port:
        gateway.ports[APP] = port
        machine.paths.goal.write_text('{"revision": ')
        assert machine.service is not None
        for _ in range(3):
            machine.service.look()
        client, _ = await machine.tunnel(APP, early=b"hello")
        await client.end()
        assert await read_all(client) == b"hello"
        await client.close()
    assert len([line for line in machine.log_lines() if "file=goal.json" in line]) == 1


@pytest.mark.parametrize(
    "host", ["169.254.169.254:80", "0.0.0.0:443", "[::]:443", "[fe80::1]:443", "224.0.0.1:443", "168.63.129.16:80"]
)
async def test_addresses_that_are_never_a_target_are_refused(machine: AgentMachine, host: str) -> None:
    answer = await machine.ask(connect_head(host))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert error_of(answer)["code"] == "route_refused"


async def test_arc_proxy_does_not_connect_to_itself_under_any_name(machine: AgentMachine) -> None:
    machine.resolver.addresses["loop.example.com"] = [address("127.0.0.1"), address("::1")]
    for host in ("127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "localhost", "loop.example.com"):
        answer = await machine.ask(connect_head(f"{host}:{machine.port}"))
        assert answer.startswith(b"HTTP/1.1 403 "), host


async def test_a_name_that_does_not_exist_is_a_dns_failure(machine: AgentMachine) -> None:
    answer = await machine.ask(connect_head("missing.example.com:443"))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["hop"] == "DNS"


async def test_a_client_that_never_reads_stops_the_target_and_not_our_memory(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    sent = 0

    async def pour(stream: SocketStream) -> None:
        nonlocal sent
        while True:
            await stream.send(b"x" * 65_536)
            sent += 65_536

    async with target(pour) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP)
        before = -1
        # Once all buffers are full nothing moves any more, for as long as the client doesn't read.
        while before != sent or sent == 0:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 64 * 1024 * 1024
        client.abort()
        await until(lambda: len(machine.request_lines()) == 1)


async def test_connections_above_the_limit_are_told_to_come_back(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set(arcproxy_connections=1)
    async with target(echo) as port:
        gateway.ports[APP] = port
        client, _ = await machine.tunnel(APP)
        answer = await machine.ask(connect_head(APP))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
        await client.end()
        await read_all(client)
        await client.close()


async def test_both_loopback_addresses_are_served(machine: AgentMachine) -> None:
    assert machine.service is not None
    assert machine.service.listener.addresses == [f"127.0.0.1:{machine.port}", f"[::1]:{machine.port}"]


async def test_a_running_tunnel_that_the_new_settings_refuse_is_cut(machine: AgentMachine) -> None:
    async with target(echo) as port:
        client, _ = await machine.tunnel(f"127.0.0.1:{port}", early=b"x")
        assert await client.receive() == b"x"
        machine.set(arcproxy_port=port)
        with pytest.raises(StreamReset):
            await client.receive()
        await client.close()
    await until(lambda: len(machine.request_lines()) == 1)
    assert "reason=target_not_allowed" in machine.request_lines()[0]


async def test_many_tunnels_at_once_each_get_their_own_bytes(machine: AgentMachine, gateway: FakeGateway) -> None:
    async def one(number: int) -> bool:
        text = f"tunnel {number} ".encode() * 5_000
        client, _ = await machine.tunnel(APP)
        await client.send(text)
        await client.end()
        answer = await read_all(client)
        await client.close()
        return answer == text

    async with target(echo) as port:
        gateway.ports[APP] = port
        assert all(await asyncio.gather(*(one(number) for number in range(40))))
    await until(lambda: len(machine.request_lines()) == 40)
    ids = {line.partition("correlation_id=")[2].partition(" ")[0] for line in machine.request_lines()}
    assert len(ids) == 40
