"""`arcproxyd` as a process: it starts once, follows its files, and ends well."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import is_running, read_arcproxy_state
from arcgate.net.dialer import dial
from arcgate.net.files import write_json
from arcgate.net.streams import SocketStream, StreamReset
from worlds.agent_machine import connect_head, echo, error_of, read_all, target
from worlds.fake_gateway import LOOPBACK
from worlds.waiting import until

pytestmark = pytest.mark.anyio

START = "from arcgate.agent.proxy.service import main; main()"


class Home:
    """The agent's files of one process, and its port."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"AZCMAGENT_HOME": str(folder), "AZCMAGENT_CLOUDS": str(folder), "PATH": os.environ["PATH"]}
        self.paths = AgentPaths.from_environment(self.environment)
        self.paths.prepare()
        self.port = _free_port()
        self.set()

    def set(self, **settings: object) -> None:
        named = {name.replace("_", "."): value for name, value in settings.items()}
        write_json(self.paths.local_configuration, {"arcproxy.port": self.port, **named})

    async def start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, env=self.environment, stdout=PIPE, stderr=PIPE
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process = await self.start()
        try:
            await until(lambda: read_arcproxy_state(self.paths).pid == process.pid)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def tunnel(self, port: int) -> SocketStream:
        client = await dial([LOOPBACK], self.port, 5)  # type: ignore[list-item]
        await client.send(connect_head(f"127.0.0.1:{port}"))
        assert (await client.receive()).startswith(b"HTTP/1.1 200 ")
        return client


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_it_serves_writes_its_state_and_ends_with_0_on_sigterm(home: Home) -> None:
    async with home.running() as process, target(echo) as port:
        assert is_running(home.paths.arcproxyd_lock)
        state = read_arcproxy_state(home.paths)
        assert state.listen == (f"127.0.0.1:{home.port}", f"[::1]:{home.port}")
        assert state.connection_type == "default"
        client = await home.tunnel(port)
        await client.end()
        await read_all(client)
        await client.close()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not is_running(home.paths.arcproxyd_lock)
    assert home.paths.arcproxy_log.stat().st_mode & 0o777 == 0o640


async def test_a_port_that_is_taken_stops_the_start_with_one_line(home: Home) -> None:
    with closing(socket.create_server(("127.0.0.1", home.port))):
        process = await home.start()
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("arcproxyd: LISTEN_FAILED: ")
    assert errors.count(b"\n") == 1


async def test_a_port_that_is_taken_on_the_other_loopback_address_stops_the_start(home: Home) -> None:
    with closing(socket.create_server(("::1", home.port), family=socket.AF_INET6)):
        process = await home.start()
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"::1" in errors


async def test_a_second_arcproxyd_does_not_start(home: Home) -> None:
    async with home.running():
        process = await home.start()
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert errors.decode().startswith("arcproxyd: ALREADY_RUNNING: ")


async def test_after_a_kill_it_starts_again_at_once_on_the_same_port(home: Home) -> None:
    async with target(echo) as port:
        async with home.running() as process:
            client = await home.tunnel(port)
            process.kill()
            await process.wait()
            with pytest.raises(StreamReset):
                await _until_end(client)
            await client.close()
        async with home.running():
            client = await home.tunnel(port)
            await client.close()


async def _until_end(client: SocketStream) -> None:
    if not await client.receive():
        # A killed process's socket ends by FIN or RST, as the kernel finds it.
        raise StreamReset("ended")


async def test_changes_of_its_files_are_followed_without_a_restart(home: Home) -> None:
    async with home.running():
        write_json(home.paths.goal, _goal(7))
        await until(lambda: read_arcproxy_state(home.paths).goal_revision == 7)
        home.set(connection_type="direct")
        await until(lambda: read_arcproxy_state(home.paths).connection_type == "direct")
        home.paths.goal.write_text("{")
        await until(lambda: "file=goal.json" in home.paths.arcproxy_log.read_text())
        assert read_arcproxy_state(home.paths).goal_revision == 7
        write_json(home.paths.goal, _goal(8))
        await until(lambda: read_arcproxy_state(home.paths).goal_revision == 8)


def _goal(revision: int) -> dict[str, object]:
    return {"revision": revision, "gateway": None, "allowed": [], "control": [], "bypass": []}


async def test_running_tunnels_get_time_to_end_and_new_ones_are_not_taken(home: Home) -> None:
    async with home.running() as process, target(echo) as port:
        client = await home.tunnel(port)
        process.send_signal(signal.SIGTERM)
        await until(lambda: "Arc Proxy stops" in home.paths.arcproxy_log.read_text())
        await client.send(b"still served")
        assert await client.receive() == b"still served"
        await client.end()
        assert await read_all(client) == b""
        await client.close()
        assert await process.wait() == 0
    assert "reason=completed bytes_up=12 bytes_down=12" in home.paths.arcproxy_log.read_text()


async def test_tunnels_that_do_not_end_are_cut_after_the_drain_time(home: Home) -> None:
    home.set(arcproxy_timeout_drain=1)
    async with home.running() as process, target(echo) as port:
        client = await home.tunnel(port)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(StreamReset):
            await client.receive()
        await client.close()
        assert await process.wait() == 0
    assert "reason=shutdown" in home.paths.arcproxy_log.read_text()


async def test_with_a_damaged_goal_from_the_start_everything_is_refused_and_nothing_goes_direct(home: Home) -> None:
    home.paths.goal.write_text("{")
    async with home.running(), target(echo) as port:
        for proxy in ("", f"http://127.0.0.1:{port}"):
            home.set(proxy_url=proxy)
            await until(partial(_is_logged, home, f"enterprise_proxy={proxy}\n"))
            for request in (connect_head(f"127.0.0.1:{port}"), _get(f"127.0.0.1:{port}")):
                client = await dial([LOOPBACK], home.port, 5)  # type: ignore[list-item]
                await client.send(request)
                answer = await read_all(client)
                await client.close()
                assert answer.startswith(b"HTTP/1.1 502 ")
                assert error_of(answer)["code"] == "file_unreadable"


def _is_logged(home: Home, text: str) -> bool:
    return text in home.paths.arcproxy_log.read_text()


def _get(authority: str) -> bytes:
    return f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


async def test_a_log_that_was_removed_is_made_again(home: Home) -> None:
    async with home.running(), target(echo) as port:
        home.paths.arcproxy_log.unlink()

        async def ask_until_logged() -> None:
            while not home.paths.arcproxy_log.exists():
                client = await home.tunnel(port)
                await client.close()
                await asyncio.sleep(0.05)

        await asyncio.wait_for(ask_until_logged(), 10)
