"""The front door: one port for all names. The SNI decides, before any TLS state exists, who takes a connection.

<prefix>.gw.<domain>            the gateway's own TLS, in this process
a name of the control plane     passed on, byte for byte, to the control plane's listener
either, asked for to prove it   answered here, when a certificate is on order (RFC 8737)
anything else, or garbage       a TLS alert, or just the end
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from sys import intern

import structlog

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import HostName
from arcgate.gateway.name_proofs import PROOF_PROTOCOL
from arcgate.gateway.strangers import Strangers
from arcgate.net.local_sockets import connect_locally
from arcgate.net.relay import Ending, Traffic, relay
from arcgate.net.stages import Stage
from arcgate.net.streams import ByteStream, PrefixedStream, SocketStream, StreamReset
from arcgate.wire.client_hello import UNRECOGNIZED_NAME_ALERT, ClientHello, ClientHelloReader, HelloError
from arcgate.wire.proxy_header import format_proxy_header

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Names:
    """Which server names lead where."""

    gateway_suffix: str
    control_names: frozenset[str]
    his_suffix: str
    nameless_is_control: bool = False
    """Whether clients without SNI (they dialled an address) get the control plane; for trials on loopback."""

    def gateway_prefix(self, name: HostName | None) -> str | None:
        """Return the prefix of a gateway's name, None for other names."""
        if name is None or not name.endswith(self.gateway_suffix):
            return None
        prefix = name.removesuffix(self.gateway_suffix)
        return intern(prefix) if prefix and "." not in prefix else None  # each session keeps it

    def is_control(self, name: HostName | None) -> bool:
        """Say whether the name belongs to the control plane."""
        if name is None:
            return self.nameless_is_control
        region = name.removesuffix(self.his_suffix)
        return name in self.control_names or (region != name and bool(region) and "." not in region)


class FrontDoor:
    """Reads ClientHellos and hands connections on."""

    def __init__(
        self,
        names: Names,
        *,
        serve_gateway: Callable[[ByteStream, str, Callable[[], None]], Awaitable[Stage | None]],
        open_control: Callable[[str], Awaitable[ByteStream]] | None,
        prove_name: Callable[[ByteStream, HostName], Awaitable[None]] | None = None,
        hello_timeout: float,
        idle_timeout: float,
        strangers: Strangers,
    ) -> None:
        """Take what serves a gateway's connection: it calls its last argument once it knows who asks or what for.

        `open_control` returns a connection to the control plane for a client at an address; it raises HopError.
        `prove_name` answers an authority that asks whether a name is ours; None where no certificate is ordered.
        """
        self._names = names
        self._serve_gateway = serve_gateway
        self._open_control = open_control
        self._prove_name = prove_name
        self._hello_timeout = hello_timeout
        self._idle_timeout = idle_timeout
        self._strangers = strangers

    async def handle(self, stream: ByteStream) -> Stage | None:
        """Serve one accepted connection, or its first stage."""
        leave = self._strangers.enter(stream.peer)
        if leave is None:
            return None
        try:
            return await self._serve(stream, leave)
        finally:
            leave()

    async def _serve(self, stream: ByteStream, is_known: Callable[[], None]) -> Stage | None:
        read = await self._read_hello(stream)
        if read is None:
            return None
        hello, again = read
        name = hello.server_name
        if self._prove_name is not None and name is not None and _asks_for_proof(hello):
            await self._prove_name(again, name)
        elif (prefix := self._names.gateway_prefix(name)) is not None:
            return await self._serve_gateway(again, prefix, is_known)
        elif self._open_control is not None and self._names.is_control(name):
            is_known()  # the control plane has bounds of its own
            await self._pass_on(again)
        else:
            with contextlib.suppress(StreamReset):
                await stream.send(UNRECOGNIZED_NAME_ALERT)
        return None

    async def _read_hello(self, stream: ByteStream) -> tuple[ClientHello, ByteStream] | None:
        reader = ClientHelloReader()
        try:
            async with asyncio.timeout(self._hello_timeout):
                while True:
                    data = await stream.receive()
                    if not data:
                        return None
                    if (hello := reader.feed(data)) is not None:
                        return hello, PrefixedStream(reader.consumed, stream)
        except (TimeoutError, StreamReset, HelloError):
            return None

    async def _pass_on(self, stream: ByteStream) -> None:
        assert self._open_control is not None
        try:
            control = await self._open_control(stream.peer)
        except HopError as error:
            _log.warning("the control plane can't be reached", cause=error.one_line())
            return
        try:
            ending = await relay(
                stream, control, Traffic(), idle_timeout=self._idle_timeout, half_closed_timeout=self._idle_timeout
            )
            if ending is not Ending.COMPLETED:
                control.abort()
                stream.abort()
        finally:
            await control.close()


async def pass_on(path: Path, client: str) -> ByteStream:
    """Return a connection to the control plane's socket that says from which address the client is; raises HopError."""
    try:
        control = SocketStream(connect_locally(path), client)
        await control.send(format_proxy_header(client))
    except (OSError, StreamReset) as error:
        raise HopError(
            Hop.TARGET,
            "CONTROL_PLANE_UNREACHABLE",
            "The control plane of this server can't be reached.",
            cause=str(error),
            remedy="Retry; the supervisor starts a control plane that has ended again.",
        ) from None
    return control


def _asks_for_proof(hello: ClientHello) -> bool:
    try:
        return hello.protocols == (PROOF_PROTOCOL,)
    except HelloError:
        return False  # TLS itself will find what is wrong with it
