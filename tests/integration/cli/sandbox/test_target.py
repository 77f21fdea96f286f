from ipaddress import IPv4Address
from pathlib import Path

import pytest

from arcgate.cli.sandbox.own_client import fetch
from arcgate.cli.sandbox.target import counting_target
from arcgate.net.dialer import dial
from worlds.fake_proxy import fake_proxy
from worlds.waiting import until

pytestmark = pytest.mark.anyio

NAME = "target.example"


async def test_it_counts_what_was_on_the_wire(tmp_path: Path) -> None:
    async with counting_target(tmp_path, NAME) as target, fake_proxy() as proxy:
        authority = f"{NAME}:{target.port}"
        assert await fetch(proxy.port, f"https://{authority}/100000", b"", target.ca_pem) == (200, 200, 100_000, 0)
        assert await fetch(proxy.port, f"https://{authority}/up", bytes(50_000), target.ca_pem) == (200, 200, 0, 50_000)
        down, up = target.connections
        await until(lambda: down.sent > 100_000 and up.received > 50_000)
        assert down.received < 5_000
        assert up.sent < 5_000


async def test_a_refused_connect_is_told_by_its_status(tmp_path: Path) -> None:
    async with counting_target(tmp_path, NAME) as target, fake_proxy(b"HTTP/1.1 403 No\r\n\r\n") as proxy:
        assert await fetch(proxy.port, f"https://{NAME}:{target.port}/1", b"", target.ca_pem) == (0, 403, 0, 0)
        assert target.connections == []


async def test_a_client_that_says_nothing_does_no_harm(tmp_path: Path) -> None:
    async with counting_target(tmp_path, NAME) as target, fake_proxy() as proxy:
        stream = await dial([IPv4Address("127.0.0.1")], target.port, 5)
        await stream.close()
        await until(lambda: target.connections)
        assert (await fetch(proxy.port, f"https://{NAME}:{target.port}/1", b"", target.ca_pem))[0] == 200
