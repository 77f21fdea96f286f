"""Byte streams: one interface for sockets, TLS over anything, and streams whose first bytes were read already.

Each direction ends by itself: `receive` returns b"" once the peer has ended its direction, `end` ends ours.
asyncio's own TLS can't do that (it closes both), which is why this interface exists.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from arcgate.net.readiness import Readiness

CHUNK = 120 * 1024
"""Bytes that one `receive` returns at most; the most that a tunnel buffers in a direction.

Just below the size from which the C library maps fresh pages for each buffer and gives them back: that costs
more than the shorter pieces do (measured: 15 % of the processor time of bulk).
"""


# What is received lands here first: a fresh buffer of this size for each call would cost more than the copy of
# the bytes that came. Nothing keeps it over an await.
_buffer = memoryview(bytearray(CHUNK))


_RESET_AT_CLOSE, _END_AT_CLOSE = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class StreamReset(Exception):
    """The connection broke: reset, vanished, or (TLS) cut without close_notify."""


class SinkReset(StreamReset):
    """The side that bytes were being carried to broke, not the one that they came from."""


class PromptStream:
    """A stream that can be tried without waiting, where it is on a socket (`readiness` is not None then).

    The relay uses it: no task, no future and no coroutine is needed to carry bytes. What a try can't send stays
    with the stream; send no more before `flush_now` has said that all is gone.
    """

    __slots__ = ()  # of these many are alive, for long

    @property
    def readiness(self) -> Readiness | None:
        """Waits for the socket below, after a try that would have blocked; None when there is no such socket."""
        return None

    def receive_now(self) -> bytes | None:
        """Return what is there already: None when that is nothing, b"" at the end; raises StreamReset."""
        raise NotImplementedError

    def send_now(self, data: bytes) -> bool:
        """Take the bytes and send what can be sent; say whether all is gone. Raises StreamReset."""
        raise NotImplementedError

    def end_now(self) -> bool:
        """End our direction; say whether that is gone. Raises StreamReset."""
        raise NotImplementedError

    def flush_now(self) -> bool:
        """Send what is left; say whether all is gone. Raises StreamReset."""
        raise NotImplementedError

    @property
    def raw_source(self) -> "SocketStream | None":
        """The socket whose next byte is the stream's next byte, None when there is no such socket (yet)."""
        return None

    @property
    def raw_sink(self) -> "SocketStream | None":
        """The socket that takes the stream's bytes as they are, None when there is no such socket (yet)."""
        return None


class ByteStream(Protocol):
    """A connection that carries bytes both ways. At most one task receives and one sends at a time."""

    async def receive(self) -> bytes:
        """Return some bytes, or b"" when the peer has ended its direction; raises StreamReset."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all bytes, waiting while the peer is slow; raises StreamReset."""
        ...

    async def end(self) -> None:
        """End our direction; the peer's goes on. Raises StreamReset."""
        ...

    def abort(self) -> None:
        """Reset the connection, so that the peer can tell a cut from an end. No task may be using it any more."""
        ...

    async def close(self) -> None:
        """Let go of the connection. No task may be using it any more."""
        ...

    @property
    def peer(self) -> str:
        """The address at the other end of the socket, for logs and audit."""
        ...


class SocketStream(PromptStream):
    """A connected, non-blocking socket as a ByteStream.

    `is_tuned` says that the socket has inherited the options of `tune` from the one that accepted it.
    """

    __slots__ = ("_peer", "_readiness", "_socket", "_unsent")

    def __init__(self, connected: socket.socket, peer: str = "", *, is_tuned: bool = False) -> None:
        connected.setblocking(False)
        if not is_tuned:
            tune(connected)
        self._socket = connected
        self._readiness = Readiness(connected.fileno())
        self._peer = peer or peer_address(connected)
        self._unsent: bytes | memoryview = b""

    @property
    def readiness(self) -> Readiness:
        """See PromptStream."""
        return self._readiness

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for facts about it."""
        return self._socket

    @property
    def descriptor(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    @property
    def raw_source(self) -> "SocketStream":
        """See PromptStream."""
        return self

    @property
    def raw_sink(self) -> "SocketStream":
        """See PromptStream."""
        return self

    @property
    def peer(self) -> str:
        """The peer's IP address."""
        return self._peer

    async def receive(self) -> bytes:
        """See ByteStream."""
        while (data := self.receive_now()) is None:
            await self._readiness.readable()
        return data

    def receive_now(self) -> bytes | None:
        """See PromptStream."""
        view = self.receive_view_now()
        return None if view is None else bytes(view)

    def receive_view_now(self) -> memoryview | None:
        """As `receive_now`, without a copy: what it returns holds until anybody else receives."""
        try:
            return _buffer[: self._socket.recv_into(_buffer)]
        except BlockingIOError:
            return None
        except OSError as error:
            raise StreamReset(str(error)) from None

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        while not self.flush_now():
            await self._readiness.writable()
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await self._readiness.writable()
            except OSError as error:
                raise StreamReset(str(error)) from None

    def send_now(self, data: bytes) -> bool:
        """See PromptStream."""
        if self._unsent:
            self._unsent = b"".join((self._unsent, data))
            return self.flush_now()
        return self._send_now(data)

    def _send_now(self, data: bytes | memoryview) -> bool:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise StreamReset(str(error)) from None
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]  # a view: a slow sink takes it in many pieces
        return False

    def flush_now(self) -> bool:
        """See PromptStream."""
        if not self._unsent:
            return True
        data, self._unsent = self._unsent, b""
        return self._send_now(data)

    async def end(self) -> None:
        """See ByteStream; sends a FIN."""
        self.end_now()

    def end_now(self) -> bool:
        """See PromptStream; sends a FIN."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise StreamReset(str(error)) from None
        return True

    def abort(self) -> None:
        """See ByteStream; sends a RST."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        except OSError:  # closed already
            return
        self.let_go()

    def reset_at_death(self, is_wanted: bool) -> None:
        """Have the kernel reset the connection, and not end it, should this process be killed."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE if is_wanted else _END_AT_CLOSE
            )

    async def close(self) -> None:
        """See ByteStream."""
        self.let_go()

    def let_go(self) -> None:
        """Close the socket."""
        self._readiness.close()
        self._socket.close()


class PrefixedStream(PromptStream):
    """A stream some of whose bytes were read already: they come first, then the stream's own."""

    __slots__ = ("_inner", "_prefix")

    def __init__(self, prefix: bytes, inner: ByteStream) -> None:
        self._prefix = prefix
        self._inner = inner

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._inner.peer

    @property
    def readiness(self) -> Readiness | None:
        """See PromptStream."""
        return self._inner.readiness if isinstance(self._inner, PromptStream) else None

    @property
    def raw_source(self) -> SocketStream | None:
        """See PromptStream."""
        return None if self._prefix else self._prompt.raw_source

    @property
    def raw_sink(self) -> SocketStream | None:
        """See PromptStream."""
        return self._prompt.raw_sink

    def receive_now(self) -> bytes | None:
        """See PromptStream."""
        return self.take_prefix() or self._prompt.receive_now()

    def send_now(self, data: bytes) -> bool:
        """See PromptStream."""
        return self._prompt.send_now(data)

    def end_now(self) -> bool:
        """See PromptStream."""
        return self._prompt.end_now()

    def flush_now(self) -> bool:
        """See PromptStream."""
        return self._prompt.flush_now()

    @property
    def _prompt(self) -> PromptStream:
        assert isinstance(self._inner, PromptStream)
        return self._inner

    async def receive(self) -> bytes:
        """See ByteStream."""
        return self.take_prefix() or await self._inner.receive()

    @property
    def inner(self) -> ByteStream:
        """The stream below, which comes next once the prefix has been taken."""
        return self._inner

    def take_prefix(self) -> bytes:
        """Return the bytes that were read already, once."""
        prefix, self._prefix = self._prefix, b""
        return prefix

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        await self._inner.send(data)

    async def end(self) -> None:
        """See ByteStream."""
        await self._inner.end()

    def abort(self) -> None:
        """See ByteStream."""
        self._inner.abort()

    async def close(self) -> None:
        """See ByteStream."""
        await self._inner.close()


def to_sink(act: Callable[[], bool]) -> bool:
    """Do something to a sink; what breaks then is its side, and raises SinkReset."""
    try:
        return act()
    except StreamReset as error:
        raise SinkReset(str(error)) from None


async def close_gently(stream: ByteStream, timeout: float = 2) -> None:
    """Close after an answer: end, then read what the peer still sends, at most `timeout` seconds.

    Closing a socket with unread bytes resets it, and a reset can overtake the answer (RFC 9112 section 9.6).
    """
    with contextlib.suppress(StreamReset, TimeoutError):
        async with asyncio.timeout(timeout):
            await stream.end()
            while await stream.receive():
                pass
    await stream.close()


def peer_address(connected: socket.socket) -> str:
    """Return the IP address of a socket's peer, empty when it has gone or is no IP socket."""
    try:
        name = connected.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def tune(connected: socket.socket) -> None:
    """Send small pieces at once, and find a vanished peer after 30 + 3 x 5 seconds without an answer.

    Sockets that a listening one accepts inherit all of it (Linux), which saves five system calls for each.
    """
    if connected.family in {socket.AF_INET, socket.AF_INET6}:
        for level, option, value in _TUNING:
            connected.setsockopt(level, option, value)


_TUNING = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, option), seconds)
        for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, option)
    ),
)
