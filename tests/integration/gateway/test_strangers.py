"""Hosts that open connections and never finish a handshake."""

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from worlds.authority import Authority
from worlds.gateway_node import gateway_node, target
from worlds.sockets import echo

pytestmark = pytest.mark.anyio


async def test_one_host_that_never_finishes_its_handshakes_takes_no_place_from_others(
    authority: Authority, tmp_path: Path
) -> None:
    async with gateway_node(authority, tmp_path, most_strangers=(12, 8)) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        busy = replace(node.enrol(), source="127.0.0.2")
        tunnels = [await busy.tunnel(f"127.0.0.1:{port}") for _ in range(10)]  # known, so they hold no place
        with ExitStack() as storm, capture_logs() as logs:
            silent = []
            for _ in range(20):
                one = socket.create_connection(("127.0.0.1", node.port), 5, ("127.0.0.2", 0))
                one.setblocking(False)
                silent.append(storm.enter_context(one))
            loop = asyncio.get_running_loop()
            # Those that find no place are closed; the others wait.
            for one in silent[8:]:
                assert await asyncio.wait_for(loop.sock_recv(one, 1), 5) == b""
            other = replace(node.enrol(), source="127.0.0.3")
            theirs = await other.tunnel(f"127.0.0.1:{port}")
            for tunnel in (theirs, *tunnels):
                await tunnel.send(b"x")
                assert await tunnel.receive() == b"x"
                await tunnel.close()
        assert {entry["address"] for entry in logs if "shed" in entry} == {"127.0.0.2"}
