"""Listening sockets and the accept loop: bounded, patient when descriptors run out, drained at the end."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address

import structlog

from arcgate.core.errors import StateError
from arcgate.net.descriptors import OUT_OF_DESCRIPTORS
from arcgate.net.readiness import Readiness
from arcgate.net.stages import Stage
from arcgate.net.streams import SocketStream, tune
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

BACKLOG = 65_535
"""Connections that wait to be accepted, as far as net.core.somaxconn lets them."""
PAUSE_WITHOUT_DESCRIPTORS = 0.2
"""Seconds that we leave connections in the backlog when the process has no descriptor left."""

SILENCE = 60.0
"""Seconds before it is said again that there are no descriptors."""

MOST_ACCEPTED = 64
"""Connections that one turn of the loop accepts."""

Handler = Callable[[SocketStream], Awaitable[Stage | None]]
"""Serves a connection, or its first stage."""


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens on one address; raises StateError (LISTEN_FAILED) naming who may hold the port."""
    ip = ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise StateError(
            "LISTEN_FAILED",
            f"Can't listen on {address} port {port}.",
            cause=str(error),
            remedy="Stop the program that holds the port ('ss -ltnp' names it), or set another port.",
        ) from None
    return listening


def has_ipv6_loopback() -> bool:
    """Say whether this host has ::1; where IPv6 is off, services go without it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def address_of(listening: socket.socket) -> str:
    """Return ADDRESS:PORT of a listening socket, IPv6 in brackets; of a Unix socket its path."""
    name = listening.getsockname()
    if isinstance(name, str):
        return name
    address, port, *_ = name
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Listener:
    """Accepts connections on sockets and runs a handler task for each."""

    def __init__(self, sockets: Iterable[socket.socket], handler: Handler) -> None:
        self._sockets = list(sockets)
        self._handler = handler
        self._accepting: list[asyncio.Task[None]] = []
        self._said_at = -SILENCE
        self._handling: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[str]:
        """ADDRESS:PORT of each socket."""
        return [address_of(one) for one in self._sockets]

    @property
    def open_connections(self) -> int:
        """Connections whose handler is still running."""
        return len(self._handling)

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = [spawn(f"accept on {address_of(one)}", self._accept(one)) for one in self._sockets]

    async def stop(self, drain_timeout: float) -> None:
        """Accept no more; give running handlers `drain_timeout` seconds, then cancel them."""
        await cancel(*self._accepting)
        for one in self._sockets:
            one.close()
        if self._handling:
            await asyncio.wait(self._handling, timeout=drain_timeout)
        await cancel(*self._handling)
        self._handling.clear()  # whoever was cancelled before its first step has not taken itself out

    async def _accept(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        tune(listening)
        readiness = Readiness(listening.fileno())
        accepted_in_turn = 0
        try:
            while True:
                try:
                    accepted, name = listening.accept()
                except BlockingIOError:
                    await readiness.readable()
                    continue
                except OSError as error:
                    await self._after_failure(error)
                    continue
                self._begin(accepted, name)
                accepted_in_turn += 1
                if accepted_in_turn % MOST_ACCEPTED == 0:
                    await asyncio.sleep(0)
        finally:
            readiness.forget()

    def _begin(self, accepted: socket.socket, name: object) -> None:
        peer = str(name[0]) if isinstance(name, tuple) else ""
        try:
            stream = SocketStream(accepted, peer, is_tuned=True)
        except OSError:  # the peer has gone already
            accepted.close()
            return
        task = spawn(f"connection from {peer}", self._handle(stream))
        self._handling.add(task)

    async def _after_failure(self, error: OSError) -> None:
        if error.errno in OUT_OF_DESCRIPTORS:
            now = asyncio.get_running_loop().time()
            if now >= self._said_at + SILENCE:
                self._said_at = now
                _log.warning("no descriptors left, connections wait", cause=str(error))
            await asyncio.sleep(PAUSE_WITHOUT_DESCRIPTORS)
        elif error.errno != errno.ECONNABORTED:
            # A network that is down, or a socket of ours that is broken: never turn into a busy loop over it.
            _log.error("can't accept", cause=str(error))
            await asyncio.sleep(PAUSE_WITHOUT_DESCRIPTORS)

    async def _handle(self, stream: SocketStream) -> None:
        try:
            stage: Awaitable[Stage | None] | None = self._handler(stream)
            while stage is not None:
                stage = await stage
        finally:
            await stream.close()
            # Not by a callback of the task: that is 250 bytes for as long as the connection lives.
            task = asyncio.current_task()
            assert task is not None
            self._handling.discard(task)
