"""A channel's bytes as messages of a WebSocket, over TLS that somebody on the path may have opened."""

import asyncio
from collections import deque

from arcgate.net.readiness import Readiness
from arcgate.net.streams import ByteStream, PromptStream, StreamReset
from arcgate.wire.messages import MessageCodec, MessageError

PIECE = 64 * 1024
"""Most bytes of one message: proxies that inspect take a whole one in before they pass it on."""


class MessageStream(PromptStream):
    """Carries a channel over `inner`, a TLS stream whose upgrade is done; `rest` was read behind the upgrade's head.

    A WebSocket has no half-close: `end` is the end of both directions, as soon as the peer has seen it. Tunnels end
    their directions by frames.
    """

    def __init__(self, inner: ByteStream, rest: bytes, *, is_client: bool) -> None:
        self._inner = inner
        self._codec = MessageCodec(is_client=is_client)
        self._ready: deque[bytes] = deque()
        self._sending = asyncio.Lock()
        self._has_sent = self._has_received = False
        self._pulse: asyncio.TimerHandle | None = None
        if rest:
            self._take(rest)

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._inner.peer

    @property
    def inner(self) -> ByteStream:
        """The stream that the messages travel on."""
        return self._inner

    @property
    def readiness(self) -> Readiness | None:
        """See PromptStream."""
        return self._inner.readiness if isinstance(self._inner, PromptStream) else None

    def keep_alive(self, interval: float) -> None:
        """Ping in silence from now on, every so many seconds: proxies cut WebSockets that are silent for long."""
        self._pulse = asyncio.get_running_loop().call_later(interval, self._beat, interval)

    def ping_in_silence(self) -> None:
        """Ping, unless bytes have moved both ways since this was last asked for.

        A ping that nobody answers ends nothing: a peer whose own sink is slow reads none for a while.
        """
        is_silent = not (self._has_sent and self._has_received)
        self._has_sent = self._has_received = False
        if not is_silent or self._sending.locked() or self.readiness is None or not self.flush_now():
            return  # what is still to be sent is as good as a ping
        if ping := self._codec.format_ping():
            self._prompt.send_now(self._codec.take_replies() + ping)

    def _beat(self, interval: float) -> None:
        try:
            self.ping_in_silence()
        except StreamReset:
            return  # whoever carries the tunnel, or takes the channel again, finds out
        self.keep_alive(interval)

    def is_quiet(self) -> bool:
        """Say, without waiting, whether the peer has neither ended nor sent data: the channel can be used again."""
        try:
            return self.readiness is not None and not self._ready and self.receive_now() is None
        except StreamReset:
            return False

    def receive_now(self) -> bytes | None:
        """See PromptStream."""
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._codec.peer_ended:
                return b""
            data = self._prompt.receive_now()
            if data is None:
                return None
            self._take(data)
            if self._codec.replies:
                self._prompt.send_now(self._codec.take_replies())

    def send_now(self, data: bytes) -> bool:
        """See PromptStream."""
        return self._prompt.send_now(self._codec.take_replies() + self._format(data))

    def end_now(self) -> bool:
        """See PromptStream."""
        end = self._codec.take_replies() + self._codec.format_end()
        return self._prompt.send_now(end) if end else self.flush_now()

    def flush_now(self) -> bool:
        """See PromptStream."""
        return self._prompt.flush_now()

    async def receive(self) -> bytes:
        """See ByteStream."""
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._codec.peer_ended:
                return b""
            self._take(await self._inner.receive())
            if self._codec.replies and not self._sending.locked():  # else whoever sends takes them along
                await self._send(b"")

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        await self._send(self._format(data))

    async def end(self) -> None:
        """See ByteStream."""
        await self._send(self._codec.format_end())

    def abort(self) -> None:
        """See ByteStream."""
        self._stop_pulse()
        self._inner.abort()

    async def close(self) -> None:
        """See ByteStream."""
        self._stop_pulse()
        await self._inner.close()

    def _stop_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()

    @property
    def _prompt(self) -> PromptStream:
        assert isinstance(self._inner, PromptStream)
        return self._inner

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            while self._codec.replies or data:
                whole, data = self._codec.take_replies() + data, b""
                await self._inner.send(whole)

    def _format(self, data: bytes) -> bytes:
        self._has_sent = True
        try:
            return b"".join(self._codec.format(data[start : start + PIECE]) for start in range(0, len(data), PIECE))
        except MessageError as error:
            raise StreamReset(str(error)) from None

    def _take(self, data: bytes) -> None:
        if not data:
            raise StreamReset("the connection ended without the end of its messages")
        self._has_received = True
        try:
            self._ready.extend(self._codec.feed(data, asyncio.get_running_loop().time()))
        except MessageError as error:
            raise StreamReset(str(error)) from None
