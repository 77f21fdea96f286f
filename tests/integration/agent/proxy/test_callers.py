"""Who may use Arc Proxy, and who is named in its log."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.agent.proxy import callers
from arcgate.agent.proxy.callers import MOST_SEARCHES, Callers, User, find_process, look_up_user
from arcgate.agent.proxy.request_log import RequestRecord
from arcgate.core.errors import ArcgateError
from arcgate.net.socket_owners import SocketOwners
from arcgate.wire.socket_diagnosis import SocketOwner
from worlds.agent_machine import AgentMachine, agent_machine, connect_head, echo, error_of, read_all, target
from worlds.authority import Authority
from worlds.waiting import until

pytestmark = pytest.mark.anyio

STRANGER = SocketOwner(4242, 7)


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as made:
        yield made


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all clients be of a user that this machine's databases don't know."""
    monkeypatch.setattr(SocketOwners, "owner_of_peer", lambda *_: STRANGER)


async def ask(machine: AgentMachine, authority: str) -> bytes:
    client = await machine.connect()
    await client.send(connect_head(authority))
    await client.end()
    answer = await read_all(client)
    await client.close()
    return answer


def log_of(machine: AgentMachine) -> str:
    return machine.paths.arcproxy_log.read_text()


async def test_without_a_list_everybody_may(machine: AgentMachine, stranger: None) -> None:
    async with target(echo) as port:
        assert (await ask(machine, f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 200 ")


async def test_users_outside_of_the_lists_are_refused_by_name(machine: AgentMachine, stranger: None) -> None:
    machine.set(arcproxy_allowedusers=["somebody-else"])
    async with target(echo) as port:
        answer = await ask(machine, f"127.0.0.1:{port}")
        assert answer.startswith(b"HTTP/1.1 403 ")
        error = error_of(answer)
        assert (error["code"], "4242" in error["message"]) == ("caller_not_allowed", True)
        assert "arcproxy.allowedusers" in error["remedy"]
        machine.set(arcproxy_allowedusers=["somebody-else", "4242"])
        assert (await ask(machine, f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 200 ")


async def test_a_client_of_nobody_knows_whom_is_refused_once_there_is_a_list(
    machine: AgentMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SocketOwners, "owner_of_peer", lambda *_: None)
    machine.set(arcproxy_allowedgroups=["staff"])
    async with target(echo) as port:
        assert (await ask(machine, f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("users", "groups", "is_allowed"),
    [
        (["alice"], [], True),
        (["4242"], [], True),
        ([], ["web"], True),
        ([], ["33"], True),
        (["bob"], ["staff"], False),
        (["web"], ["alice"], False),
    ],
)
async def test_names_and_numbers_of_users_and_groups_count(
    machine: AgentMachine, stranger: None, users: list[str], groups: list[str], is_allowed: bool
) -> None:
    known = User("alice", frozenset({"alice", "4242"}), frozenset({"web", "33"}))
    checked = Callers(users, groups, find_user=lambda _number: known)
    client = await machine.connect()
    try:
        if is_allowed:
            await checked.require_allowed(client)
        else:
            with pytest.raises(ArcgateError):
                await checked.require_allowed(client)
    finally:
        await client.close()


async def test_the_services_own_group_may_whatever_the_lists_say(machine: AgentMachine, stranger: None) -> None:
    himds = User("himds", frozenset({"himds"}), frozenset({"arcproxy"}))
    client = await machine.connect()
    await Callers(["alice"], find_user=lambda _number: himds).require_allowed(client)
    await client.close()


async def test_a_group_named_like_the_services_is_no_user(machine: AgentMachine, stranger: None) -> None:
    impostor = User("arcproxy", frozenset({"arcproxy"}), frozenset({"users"}))
    client = await machine.connect()
    with pytest.raises(ArcgateError):
        await Callers(["alice"], find_user=lambda _number: impostor).require_allowed(client)
    await client.close()


async def test_the_process_that_opened_a_tunnel_is_named_in_the_log(machine: AgentMachine) -> None:
    async with target(echo) as port:
        client, _ = await machine.tunnel(f"127.0.0.1:{port}")
        await client.send(b"x")
        assert await client.receive() == b"x"
        me = f"process={os.getpid()}"
        await until(lambda: _named(machine))
        await client.end()
        await read_all(client)
        await client.close()
        await until(lambda: me in log_of(machine))
    assert f"executable={os.readlink('/proc/self/exe')}" in log_of(machine)
    assert f"user={look_up_user(os.getuid()).name}" in log_of(machine)


def _named(machine: AgentMachine) -> bool:
    assert machine.service is not None
    records = [record for _, record in machine.service.proxy._tunnels.values()]
    return any(record.process for record in records)


async def test_with_naming_off_nobody_is_asked(machine: AgentMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.set(arcproxy_log_process="off")
    asked: list[object] = []
    monkeypatch.setattr(SocketOwners, "owner_of_peer", lambda *given: asked.append(given))
    async with target(echo) as port:
        assert (await ask(machine, f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 200 ")
        await until(lambda: f"target=127.0.0.1:{port}" in log_of(machine))
    assert asked == []
    assert "user=" not in log_of(machine)


async def test_under_load_searches_for_processes_are_left_out(
    machine: AgentMachine, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[object] = []
    monkeypatch.setattr(callers, "find_process", lambda owner, first: searched.append(owner))
    found = Callers(find_user=lambda _number: User("alice", frozenset(), frozenset()), clock=lambda: 100.0)
    client = await machine.connect()
    record = RequestRecord("c", "127.0.0.1", lambda: 0.0)
    for _ in range(5 * MOST_SEARCHES):
        found.name(client, record)
    await until(lambda: record.user == "alice")
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    await client.close()
    found.close()
    assert len(searched) <= MOST_SEARCHES


def test_hostile_names_of_programs_stay_on_one_line(tmp_path: Path) -> None:
    place = tmp_path / "77"
    (place / "fd").mkdir(parents=True)
    (place / "fd" / "3").symlink_to("socket:[7]")
    (place / "exe").symlink_to("/tmp/evil\nuser=root " + "x" * 200)
    owner = SocketOwner(os.getuid(), 7)
    found = find_process(owner, folder=tmp_path)
    assert found is not None
    assert found.pid == 77
    assert "\n" not in found.executable
    assert len(found.executable) <= 200
    assert find_process(SocketOwner(os.getuid(), 8), folder=tmp_path) is None
    assert find_process(owner, first=77, folder=tmp_path) == found
