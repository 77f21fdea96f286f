"""What a machine may carry: at a bandwidth, and so much a day."""

import hashlib
import json
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.daily_bytes import DAY
from arcgate.core.verdicts import EndReason, Reason
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import spawn
from worlds.authority import Authority
from worlds.gateway_node import gateway_node, target
from worlds.sockets import echo

pytestmark = pytest.mark.anyio


async def read_to_end(stream: ByteStream) -> None:
    while await stream.receive():
        pass


async def test_a_machine_with_a_bandwidth_gets_all_its_bytes_whole_and_its_tunnels_are_not_cut(
    authority: Authority, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 2_000
    async with gateway_node(authority, tmp_path, machine_limits=(10, 100, 500_000)) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        tunnel = await node.enrol().tunnel(f"127.0.0.1:{port}")

        async def send() -> None:
            await tunnel.send(data)
            await tunnel.end()

        sending, received = spawn("send", send()), hashlib.sha256()
        while piece := await tunnel.receive():
            received.update(piece)
        await sending
        assert received.digest() == hashlib.sha256(data).digest()
        await tunnel.close()
        end = await node.wait_for_record(Event.END)
        assert (end.reason, end.bytes_up, end.bytes_down) == (EndReason.COMPLETED, len(data), len(data))
        # Both ways together, less the burst of a second and what may be overdrawn.
        assert end.duration is not None
        assert end.duration >= (2 * len(data) - 500_000 - 2 * 128 * 1024) / 500_000


async def test_a_machine_that_has_used_its_day_up_is_cut_and_refused_until_the_next_day(
    authority: Authority, tmp_path: Path
) -> None:
    async with gateway_node(authority, tmp_path, machine_limits=(10, 100, 0, 10_000)) as node, target(echo) as port:
        node.publish_endpoints(f"127.0.0.1:{port}")
        node.today = 1000 * DAY + DAY - 500.0
        greedy, other = node.enrol(), node.enrol()
        busy, idle = await greedy.tunnel(f"127.0.0.1:{port}"), await greedy.tunnel(f"127.0.0.1:{port}")
        others = await other.tunnel(f"127.0.0.1:{port}")
        await busy.send(bytes(10_000))
        with pytest.raises(StreamReset):
            await read_to_end(busy)
        with pytest.raises(StreamReset):
            await idle.receive()
        await node.wait_for_record(Event.END, 2)
        assert {record.reason for record in node.records(Event.END)} == {EndReason.DAY_USED_UP}
        head, body = await greedy.connect(f"127.0.0.1:{port}")
        assert (head.status, head.first("retry-after")) == (503, "500")
        assert json.loads(body)["error"]["code"] == Reason.DAY_USED_UP
        await others.send(b"x")
        assert await others.receive() == b"x"
        node.today += 500
        again = await greedy.tunnel(f"127.0.0.1:{port}")
        for stream in (busy, idle, others, again):
            await stream.close()
        await node.wait_for_record(Event.END, 4)
