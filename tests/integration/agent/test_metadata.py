"""The metadata endpoint over real sockets, of a himdsd that works with a real control plane."""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.disconnect import remove_local_state
from arcgate.agent.himds import daemon as daemon_module
from arcgate.agent.himds import metadata_server as server_module
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.loopback import open_sockets
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, read_himds_state
from arcgate.core.errors import HopError
from arcgate.core.names import Target
from arcgate.net.dialer import dial
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.streams import ByteStream, SocketStream, StreamReset
from worlds.agent_cloud import AgentCloud, Fault, agent_cloud
from worlds.authority import Authority

pytestmark = pytest.mark.anyio

PATIENCE = 15.0
"""Seconds until a condition that should hold is taken for one that never will."""
RESOURCE = "https://management.azure.com/"
TOKEN = f"/metadata/identity/oauth2/token?api-version=2020-06-01&resource={RESOURCE}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - files of another part are waited for
            await asyncio.sleep(0.02)


def _free_port() -> int:
    sockets = open_sockets(0)
    port = int(sockets[0].getsockname()[1])
    for one in sockets:
        one.close()
    return port


@dataclass
class Client:
    """A program of the machine."""

    paths: AgentPaths
    port: int
    address: str = "127.0.0.1"

    async def open(self, _target: Target | None = None) -> SocketStream:
        return await dial([ip_address(self.address)], self.port, 5)

    async def get(self, target: str, **headers: str) -> Answer:
        named = {"Metadata": "true", **{name.replace("_", "-"): value for name, value in headers.items()}}
        # Whatever is being tested of TLS elsewhere: this protocol has none.
        client = HttpClient(self.open, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return await client.request("GET", f"http://localhost:{self.port}{target}", headers=named)

    async def token(self, target: str = TOKEN) -> Answer:
        challenge = await self.get(target)
        if challenge.status != 401:
            return challenge
        return await self.get(target, Authorization=f"Basic {content_of(challenge)}")

    async def eventually(self, status: int) -> Answer:
        """Ask for a token until it is answered like this."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(HopError):
                    answer = await self.token()
                    if answer.status == status:
                        return answer
                await asyncio.sleep(0.02)

    async def raw(self, *pieces: bytes) -> bytes:
        """Send bytes, and return all that comes back."""
        stream = await self.open()
        try:
            for piece in pieces:
                await stream.send(piece)
            return await _everything(stream)
        finally:
            await stream.close()

    async def is_served(self) -> bool:
        try:
            stream = await self.open()
        except Exception:
            return False
        await stream.close()
        return True


def content_of(challenge: Answer) -> str:
    return Path(challenge.headers["www-authenticate"].removeprefix("Basic realm=")).read_text()


async def _everything(stream: ByteStream) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while piece := await stream.receive():
                data += piece
        except StreamReset:
            pass
    return data


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentCloud]:
    async with agent_cloud(tmp_path, authority) as found:
        await found.plane.group()
        yield found


@pytest.fixture
def paths(cloud: AgentCloud, tmp_path: Path) -> AgentPaths:
    return cloud.machine(tmp_path / "agent")


@pytest.fixture
def client(paths: AgentPaths) -> Client:
    port = _free_port()
    SettingsFile(paths).set("himds.port", str(port))
    return Client(paths, port)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "LOOK_INTERVAL", 0.02)


@asynccontextmanager
async def connected(cloud: AgentCloud, paths: AgentPaths) -> AsyncIterator[AgentIdentity]:
    """A connected machine whose himdsd is at work."""
    identity = await cloud.onboard(paths)
    async with cloud.himdsd(paths):
        await until(lambda: read_himds_state(paths).metadata_endpoint != "")
        await until(lambda: read_himds_state(paths).status == "Connected")
        yield identity


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def _listening(port: int) -> set[str]:
    """Return the addresses that the kernel's tables name for the port, as they write them."""
    tables = [Path(f"/proc/self/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    local = [line.split()[1] for table in tables for line in table if line.split()[3] == "0A"]
    return {one.split(":")[0] for one in local if one.endswith(f":{port:04X}")}


def _asked_for_tokens(cloud: AgentCloud) -> int:
    return sum(line.endswith("/token") and "/machine/" in line for line in cloud.door.requests)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_program_that_can_read_the_file_gets_a_token(
    cloud: AgentCloud, paths: AgentPaths, client: Client, address: str
) -> None:
    client.address = address
    async with connected(cloud, paths) as identity:
        answer = await client.token()
        document = answer.json()
        assert answer.status == 200
        assert set(document) == {"access_token", "expires_in", "expires_on", "resource", "token_type"}
        assert all(isinstance(value, str) for value in document.values())
        assert (document["resource"], document["token_type"]) == (RESOURCE, "Bearer")
        assert int(document["expires_on"]) - time.time() == pytest.approx(int(document["expires_in"]), abs=60)
        assert _claims(document["access_token"])["oid"] == identity.principal_id
        assert answer.headers["cache-control"] == "no-store"
        assert list(paths.tokens.iterdir()) == []


async def test_a_token_is_fetched_once(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        first = (await client.token()).json()
        assert (await client.token()).json()["access_token"] == first["access_token"]
        assert _asked_for_tokens(cloud) == 1
        fresh = (await client.token(f"{TOKEN}&bypass_cache=true")).json()
        assert fresh["access_token"] != first["access_token"]


async def test_a_used_key_is_answered_with_another_challenge(
    cloud: AgentCloud, paths: AgentPaths, client: Client
) -> None:
    async with connected(cloud, paths):
        challenge = await client.get(TOKEN)
        authorization = f"Basic {content_of(challenge)}"
        assert (await client.get(TOKEN, Authorization=authorization)).status == 200
        again = await client.get(TOKEN, Authorization=authorization)
        assert again.status == 401
        assert again.headers["www-authenticate"] != challenge.headers["www-authenticate"]


async def test_kept_tokens_outlast_an_outage_and_new_ones_are_refused_clearly(
    cloud: AgentCloud, paths: AgentPaths, client: Client
) -> None:
    async with connected(cloud, paths):
        first = (await client.token()).json()
        cloud.is_reachable = False
        assert (await client.token()).json()["access_token"] == first["access_token"]
        refused = await client.token(TOKEN.replace("management.azure.com", "other.example"))
        assert refused.status == 503
        assert refused.json()["error"] == "temporarily_unavailable"
        assert "refused" in refused.json()["error_description"]


async def test_a_cloud_that_fails_is_told_of(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        cloud.door.faults = [Fault("POST", "/token", 500)]
        assert (await client.token()).status == 503
        assert (await client.token()).status == 200


async def test_a_deleted_machine_gets_none(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths) as identity:
        await cloud.plane.arm("DELETE", identity.resource_id)
        answer = await client.token()
        assert (answer.status, answer.json()["error"]) == (404, "access_denied")
        assert "MachineNotFound" in answer.json()["error_description"]


async def test_a_resource_that_is_none_is_told_of(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        answer = await client.token(TOKEN.replace("https://", "ftp://"))
        assert (answer.status, answer.json()["error"]) == (400, "invalid_resource")


async def test_programs_learn_which_machine_and_cloud_this_is(
    cloud: AgentCloud, paths: AgentPaths, client: Client
) -> None:
    async with connected(cloud, paths) as identity:
        instance = (await client.get("/metadata/instance?api-version=2019-11-01")).json()
        assert instance["compute"]["resourceId"] == identity.resource_id
        endpoints = (await client.get("/metadata/endpoints?api-version=2019-11-01")).json()
        assert endpoints["resourceManager"] == cloud.cloud.resource_manager


async def test_a_machine_that_is_not_connected_says_so_and_follows_its_identity(
    cloud: AgentCloud, paths: AgentPaths, client: Client
) -> None:
    async with cloud.himdsd(paths):
        assert (await client.eventually(400)).json()["error"] == "identity_not_found"
        await cloud.onboard(paths)
        await until(lambda: read_himds_state(paths).status == "Connected")
        assert (await client.token()).status == 200
        remove_local_state(paths)
        assert (await client.eventually(400)).json()["error"] == "identity_not_found"


async def test_a_taken_port_stops_no_heartbeat_and_is_used_once_it_is_free(
    cloud: AgentCloud, paths: AgentPaths, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LISTEN_RETRY", 0.1)
    await cloud.onboard(paths)
    with socket.create_server(("127.0.0.1", client.port)):
        async with cloud.himdsd(paths):
            await until(lambda: read_himds_state(paths).status == "Connected")
            assert read_himds_state(paths).metadata_endpoint == ""
    async with cloud.himdsd(paths):
        await until(lambda: read_himds_state(paths).metadata_endpoint == f"http://localhost:{client.port}")


async def test_another_port_is_followed(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        before, client.port = Client(paths, client.port), _free_port()
        SettingsFile(paths).set("himds.port", str(client.port))
        await until(lambda: read_himds_state(paths).metadata_endpoint.endswith(f":{client.port}"))
        assert (await client.token()).status == 200
        assert not await before.is_served()


async def test_it_listens_on_loopback_alone(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        assert _listening(client.port) == {"0100007F", "00000000000000000000000001000000"}


async def test_files_that_a_killed_himdsd_left_are_removed(
    cloud: AgentCloud, paths: AgentPaths, client: Client
) -> None:
    (paths.tokens / "left.key").write_text("left")
    async with connected(cloud, paths):
        assert list(paths.tokens.iterdir()) == []
        await client.get(TOKEN)
        assert len(list(paths.tokens.iterdir())) == 1
    assert list(paths.tokens.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"403"),
        (b"GET / HTTP/1.0\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", b"403"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300, b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000, b"431"),
    ],
)
async def test_what_is_no_request_of_a_client_is_refused(
    cloud: AgentCloud, paths: AgentPaths, client: Client, sent: bytes, status: bytes
) -> None:
    async with connected(cloud, paths):
        answer = await client.raw(sent)
        assert answer.split()[1] == status
        assert b"access-control" not in answer.lower()
        assert list(paths.tokens.iterdir()) == []


async def test_a_page_of_a_browser_gets_nothing(cloud: AgentCloud, paths: AgentPaths, client: Client) -> None:
    async with connected(cloud, paths):
        place = f"localhost:{client.port}".encode()
        origin = b" HTTP/1.1\r\nHost: " + place + b"\r\nOrigin: https://evil.example\r\n"
        wish = b"Access-Control-Request-Headers: metadata\r\n\r\n"
        preflight = await client.raw(b"OPTIONS " + TOKEN.encode() + origin + wish)
        assert preflight.startswith(b"HTTP/1.1 405")
        plain = await client.raw(b"GET " + TOKEN.encode() + origin + b"\r\n")
        assert plain.startswith(b"HTTP/1.1 400")
        assert b"access-control" not in (preflight + plain).lower()


async def test_a_slow_head_ends_after_its_time(
    cloud: AgentCloud, paths: AgentPaths, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT", 0.2)
    async with connected(cloud, paths):
        assert (await client.raw(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408")


async def test_more_connections_than_the_limit_are_refused_and_later_ones_served(
    cloud: AgentCloud, paths: AgentPaths, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    async with connected(cloud, paths):
        idle = [await client.open() for _ in range(2)]
        assert (await client.raw()).startswith(b"HTTP/1.1 503")
        for one in idle:
            await one.close()
        await client.eventually(200)
