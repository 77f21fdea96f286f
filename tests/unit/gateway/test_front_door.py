"""Which server names lead to a gateway, and which to the control plane; how many strangers may wait."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from arcgate.core.names import HostName
from arcgate.gateway.front_door import FrontDoor, Names
from arcgate.gateway.strangers import Strangers
from arcgate.net.stages import Stage
from arcgate.net.streams import ByteStream
from arcgate.net.tasks import spawn
from worlds.memory_streams import memory_pair
from worlds.waiting import until

NAMES = Names(".gw.arcgate.test", frozenset({"management.arcgate.test"}), ".his.arcgate.test")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("abc.gw.arcgate.test", "abc"),
        ("a.b.gw.arcgate.test", None),
        ("gw.arcgate.test", None),
        (".gw.arcgate.test", None),
        ("abc.gw.arcgate.test.evil.test", None),
        ("abcgw.arcgate.test", None),
        (None, None),
    ],
)
def test_a_gateway_is_named_by_exactly_one_label(name: str | None, prefix: str | None) -> None:
    assert NAMES.gateway_prefix(HostName(name) if name is not None else None) == prefix


@pytest.mark.parametrize(
    ("name", "is_control"),
    [
        ("management.arcgate.test", True),
        ("eastus.his.arcgate.test", True),
        ("a.eastus.his.arcgate.test", False),
        ("his.arcgate.test", False),
        ("login.evil.test", False),
        (None, False),
    ],
)
def test_the_control_plane_has_its_own_names_and_one_for_each_region(name: str | None, is_control: bool) -> None:
    assert NAMES.is_control(HostName(name) if name is not None else None) is is_control


def client_hello(name: str) -> bytes:
    context, outgoing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.anyio
async def test_strangers_hold_a_place_until_they_are_known() -> None:
    served: list[Callable[[], None]] = []
    end = asyncio.Event()

    async def serve(_stream: ByteStream, _prefix: str, is_known: Callable[[], None]) -> None:
        served.append(is_known)
        await end.wait()

    strangers = Strangers(1, 1, lambda: 0)
    door = FrontDoor(
        NAMES, serve_gateway=serve, open_control=None, hello_timeout=10, idle_timeout=10, strangers=strangers
    )

    async def knock() -> "asyncio.Task[Stage | None]":
        near, far = memory_pair()
        await near.send(client_hello("gw.gw.arcgate.test"))
        return spawn("knock", door.handle(far))

    with capture_logs():
        first = await knock()
        await until(lambda: len(served) == 1)
        await (await knock())
        assert len(served) == 1
        served[0]()
        served[0]()
        last = await knock()
        await until(lambda: len(served) == 2)
        end.set()
        await asyncio.gather(first, last)


@pytest.mark.anyio
async def test_a_storm_of_strangers_is_closed_unheard_and_written_down_once() -> None:
    async def serve(_stream: ByteStream, _prefix: str, _is_known: Callable[[], None]) -> None:
        raise AssertionError("nobody is served")

    strangers = Strangers(0, 1, lambda: 0)
    door = FrontDoor(
        NAMES, serve_gateway=serve, open_control=None, hello_timeout=10, idle_timeout=10, strangers=strangers
    )
    with capture_logs() as logs:
        for _ in range(100):
            _, far = memory_pair()
            assert await door.handle(far) is None
    assert [(entry["log_level"], entry["shed"]) for entry in logs] == [("warning", 1)]
