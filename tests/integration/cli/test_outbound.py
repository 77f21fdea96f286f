import pytest

from arcgate.cli.outbound import Outbound
from arcgate.core.errors import HopError
from arcgate.core.names import Target, parse_target
from arcgate.net.dialer import ConnectRefused
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import SocketStream
from worlds.authority import Authority
from worlds.fake_proxy import fake_proxy

pytestmark = pytest.mark.anyio

TARGET = parse_target("arm.example:443")


class Greeter:
    """A server that sends its name."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._socket = listen("127.0.0.1", 0)
        self._listener = Listener([self._socket], self._greet)

    async def _greet(self, client: SocketStream) -> None:
        await client.send(self._name)
        await client.close()

    @property
    def target(self) -> Target:
        return parse_target(f"127.0.0.1:{self._socket.getsockname()[1]}")

    async def __aenter__(self) -> "Greeter":
        self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.stop(1)


async def greeting(outbound: Outbound, target: Target = TARGET) -> bytes:
    stream = await outbound.open_stream(target)
    try:
        return await stream.receive()
    finally:
        await stream.close()


async def test_an_address_is_dialled_in_place_of_every_name_and_proxy() -> None:
    async with Greeter(b"hello") as server:
        outbound = Outbound(server.target, environment={"HTTPS_PROXY": "http://127.0.0.1:1"})
        assert await greeting(outbound) == b"hello"


async def test_without_a_proxy_the_target_itself_is_dialled() -> None:
    async with Greeter(b"hello") as server:
        assert await greeting(Outbound(environment={}), server.target) == b"hello"


async def test_a_proxy_that_asks_gets_the_urls_credentials() -> None:
    async with Greeter(b"hello") as server, fake_proxy() as proxy:
        proxy.wants = "Basic bWU6aHVzaA=="
        proxy.ports["arm.example:443"] = server.target.port
        environment = {"HTTPS_PROXY": f"http://me:hush@127.0.0.1:{proxy.port}"}
        assert await greeting(Outbound(environment=environment)) == b"hello"
        first, last = ({name.lower(): value for name, value in head.fields} for head in proxy.heads)
        assert "proxy-authorization" not in first
        assert last["proxy-authorization"] == proxy.wants


async def test_a_proxy_that_refuses_is_named() -> None:
    async with fake_proxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        with pytest.raises(ConnectRefused, match="403"):
            await greeting(Outbound(environment={"HTTPS_PROXY": proxy.url}))


async def test_a_proxy_that_is_not_there_is_named_as_the_variables() -> None:
    with pytest.raises(HopError, match="HTTPS_PROXY") as caught:
        await greeting(Outbound(environment={"HTTPS_PROXY": "http://me:hush@127.0.0.1:1"}))
    assert "hush" not in caught.value.one_line()


async def test_a_proxy_that_is_not_trusted_gets_nothing(authority: Authority) -> None:
    async with fake_proxy() as proxy:
        with pytest.raises(HopError):
            await greeting(Outbound(environment={"HTTPS_PROXY": f"https://127.0.0.1:{proxy.port}"}))
        assert proxy.heads == []
