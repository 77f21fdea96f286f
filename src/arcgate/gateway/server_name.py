"""The server name inside a tunnel: read as the ClientHello passes, without decrypting, and compared with the CONNECT.

Who asks for one name and talks to another behind the same address (domain fronting) would pass the policy by
name. Only port 443 is looked at: there clients speak first, and TLS.
"""

import asyncio
from dataclasses import dataclass

from arcgate.core.names import Target
from arcgate.core.patterns import DEFAULT_PORT
from arcgate.core.policy_settings import ServerNameCheck
from arcgate.core.verdicts import Reason
from arcgate.gateway.tunnels import Tunnel
from arcgate.net.channel import ChannelTunnel
from arcgate.net.streams import ByteStream, PrefixedStream
from arcgate.wire.client_hello import ClientHelloReader, HelloError


@dataclass(frozen=True, slots=True)
class Seen:
    """The client's stream with nothing of it lost, and how its name differs; empty when it doesn't."""

    stream: ByteStream
    difference: str


def check_of(tunnel: Tunnel) -> ServerNameCheck:
    """Return how the tunnel's server name is checked."""
    gateway = tunnel.admission.gateway
    if gateway is None or tunnel.target.is_literal or tunnel.target.port != DEFAULT_PORT:
        return ServerNameCheck.OFF
    is_control = tunnel.verdict.reason is Reason.CONTROL_PLANE
    return ServerNameCheck.OFF if is_control else gateway.policy.server_name


async def read_server_name(client: ByteStream, target: Target, timeout: float) -> Seen:
    """Read the client's first bytes, at most `timeout` seconds; raises StreamReset."""
    reader = ClientHelloReader()
    difference = f"no ClientHello in {timeout:g} s"
    try:
        async with asyncio.timeout(timeout):
            difference = await _difference(client, reader, target)
    except TimeoutError:
        pass
    except HelloError as error:
        difference = f"no ClientHello of TLS: {error}"
    return Seen(_put_back(client, reader.consumed), difference)


async def _difference(client: ByteStream, reader: ClientHelloReader, target: Target) -> str:
    while data := await client.receive():
        if (hello := reader.feed(data)) is None:
            continue
        if hello.server_name is None:
            return "the ClientHello names no server"
        return "" if hello.server_name == target.host else f"the ClientHello asks for {hello.server_name}"
    return "the client ended before its ClientHello"


def _put_back(client: ByteStream, data: bytes) -> ByteStream:
    if not data:
        return client
    if isinstance(client, ChannelTunnel):  # it must stay what it is to be handed over and used again
        client.put_back(data)
        return client
    return PrefixedStream(data, client)
