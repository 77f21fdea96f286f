"""Channels: a TLS connection between Arc Proxy and gateway that carries one tunnel after the other.

A tunnel on a channel is a ByteStream of frames. Each of its directions can leave the frames and the TLS by
itself (hand-over): the sender writes close_notify and goes on with plain bytes on the same TCP connection, the
receiver takes close_notify outside of a frame as "from here on raw". A channel that was handed over, or whose
tunnel did not end cleanly, is used up.
"""

import asyncio
import contextlib
from collections.abc import Callable

from arcgate.core.errors import StateError
from arcgate.net.freed_memory import FreedMemory
from arcgate.net.messages import MessageStream
from arcgate.net.readiness import Readiness
from arcgate.net.silence import silence_of
from arcgate.net.streams import PromptStream, SocketStream, StreamReset
from arcgate.net.tls import TlsStream
from arcgate.wire.frames import FIN, LARGEST_PAYLOAD, FrameError, FrameReader, FrameType, format_data

_NO_FRAMES = FrameReader()
"""Of all tunnels that read no frames any more."""

PIECE = LARGEST_PAYLOAD
"""Most bytes of one DATA frame that we send."""


class ChannelTunnel(PromptStream):
    """One tunnel on a channel, as a ByteStream. `rest` are frames that were read with the CONNECT's head.

    `may_hand_over` says that both sides agreed to. `hold_end` keeps back the FIN of a raw direction until the
    other one has ended, at most so many seconds: enterprise proxies end both directions at the first FIN that
    they see. With `in_silence` these are seconds in which nothing has come; of two sides that hold their ends, one
    has to go by silence, or both would wait for each other. `on_done` is called once, when the tunnel is closed or
    aborted: with True it takes the channel back, which can carry another tunnel then.
    """

    __slots__ = (
        "_ended",
        "_frames",
        "_held_end",
        "_hold_end",
        "_in_silence",
        "_may_hand_over",
        "_on_done",
        "_peer_ended",
        "_ready",
        "_receives_raw",
        "_sends_raw",
        "_tls",
    )

    def __init__(
        self,
        tls: TlsStream | MessageStream,
        rest: bytes,
        *,
        may_hand_over: bool,
        hold_end: float = 0,
        in_silence: bool = False,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        self._tls = tls
        self._frames = FrameReader()
        # No list or deque: one that has been emptied keeps a byte of the C library's heap, and so a page of what
        # TLS states around it leave behind.
        self._ready = b""
        self._may_hand_over = may_hand_over and isinstance(tls.inner, PromptStream)
        self._hold_end = hold_end
        self._in_silence = in_silence
        self._on_done = on_done
        self._receives_raw = False
        self._sends_raw = False
        self._peer_ended = False
        self._ended = False
        self._held_end: asyncio.TimerHandle | None = None
        if rest:
            self._take_frames(rest)

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._tls.peer

    def put_back(self, data: bytes) -> None:
        """Give back what was received, to be received again before everything else."""
        self._ready = data + self._ready

    @property
    def was_handed_over(self) -> bool:
        """Whether a direction has left the TLS."""
        return self._sends_raw or self._receives_raw

    @property
    def is_reusable(self) -> bool:
        """Whether both directions have ended cleanly and the channel can take the next CONNECT."""
        return self._ended and self._peer_ended and not self.was_handed_over

    @property
    def rest(self) -> bytes:
        """Bytes of the channel behind this tunnel."""
        return self._frames.rest

    @property
    def raw_source(self) -> SocketStream | None:
        """See PromptStream."""
        return self._socket.raw_source if self._receives_raw and not self._ready else None

    @property
    def raw_sink(self) -> SocketStream | None:
        """See PromptStream."""
        return self._socket.raw_sink if self._sends_raw else None

    @property
    def can_go_raw(self) -> bool:
        """Whether our direction may leave the TLS now."""
        return self._may_hand_over and not self._sends_raw and not self._ended

    @property
    def peer_went_raw(self) -> bool:
        """Whether the peer's direction has left the TLS."""
        return self._receives_raw

    @property
    def is_raw(self) -> bool:
        """Whether both directions have left the TLS, which is freed then."""
        return self._sends_raw and self._receives_raw

    def go_raw(self) -> bool:
        """Leave frames and TLS with our direction; only on a boundary that both sides could hand over at.

        Says whether the farewell is gone; raises StreamReset.
        """
        assert self.can_go_raw
        self._sends_raw = True
        is_gone = self._tls.end_now()
        self._free_tls()
        return is_gone

    @property
    def readiness(self) -> Readiness | None:
        """See PromptStream."""
        return self._tls.readiness

    def receive_now(self) -> bytes | None:
        """See PromptStream."""
        while True:
            if self._ready:
                ready, self._ready = self._ready, b""
                return ready
            if self._peer_ended:
                return b""
            if self._receives_raw:
                data = self._socket.receive_now()
                self._peer_ended = data == b""
                return data
            data = self._tls.receive_now()
            if data is None:
                return None
            if data:
                self._take_frames(data)
            else:
                self._take_close_notify()

    def send_now(self, data: bytes) -> bool:
        """See PromptStream."""
        if self._sends_raw:
            return self._socket.send_now(data)
        if len(data) <= PIECE:
            return self._tls.send_now(format_data(data))
        view = memoryview(data)
        return self._tls.send_now(
            b"".join(format_data(view[start : start + PIECE]) for start in range(0, len(view), PIECE))
        )

    def end_now(self) -> bool:
        """See PromptStream."""
        if self._ended:
            return self.flush_now()
        self._ended = True
        if not self._sends_raw:
            return self._tls.send_now(FIN)
        if self._hold_end and not self._peer_ended:
            self._held_end = asyncio.get_running_loop().call_later(self._hold_end, self._release_end)
            return True
        return self._socket.end_now()

    def flush_now(self) -> bool:
        """See PromptStream."""
        return self._socket.flush_now()

    async def receive(self) -> bytes:
        """See ByteStream."""
        while True:
            if self._ready:
                ready, self._ready = self._ready, b""
                return ready
            if self._peer_ended:
                return b""
            if self._receives_raw:
                return await self._receive_raw()
            data = await self._tls.receive()
            if data:
                self._take_frames(data)
            else:
                self._take_close_notify()

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        if self._sends_raw:
            await self._tls.inner.send(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            await self._tls.send(format_data(view[start : start + PIECE]))

    async def end(self) -> None:
        """See ByteStream."""
        if self._sends_raw or self._ended:
            self.end_now()
        else:
            self._ended = True
            await self._tls.send(FIN)

    def _release_end(self) -> None:
        """Send the FIN that was held back, or hold it on while the peer is sending."""
        sink = self._socket.raw_sink
        if sink is None:
            return
        left = self._hold_end - silence_of(sink.socket) if self._in_silence else 0
        if left > 0:
            self._held_end = asyncio.get_running_loop().call_later(left, self._release_end)
            return
        with contextlib.suppress(StreamReset):  # whoever receives finds out
            sink.end_now()

    def _is_done(self, *, is_reusable: bool) -> None:
        if self._held_end is not None:
            self._held_end.cancel()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(is_reusable)

    def abort(self) -> None:
        """See ByteStream."""
        self._is_done(is_reusable=False)
        self._tls.abort()

    async def close(self) -> None:
        """See ByteStream; a channel that can be used again goes back to where it came from."""
        is_kept = self.is_reusable and not self.rest and self._on_done is not None
        self._is_done(is_reusable=is_kept)
        if not is_kept:
            await self._tls.close()

    @property
    def _socket(self) -> PromptStream:
        inner = self._tls.inner
        if not isinstance(inner, PromptStream):
            raise StateError("CHANNEL_NOT_RAW", "This channel does not run on a socket of its own.")
        return inner

    async def _receive_raw(self) -> bytes:
        data = await self._tls.inner.receive()
        self._peer_ended = not data
        return data

    def _take_frames(self, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except FrameError as error:
            raise StreamReset(f"the peer sent no frames: {error}") from None
        pieces = []
        for frame in frames:
            match frame.type:
                case FrameType.DATA:
                    pieces.append(frame.payload)
                case FrameType.FIN:
                    self._peer_ended = True
                case FrameType.RESET:
                    raise StreamReset(frame.payload.decode("ascii", "replace"))
        if pieces:  # as one: each piece passed on by itself would cost a system call
            self._ready = b"".join((self._ready, *pieces)) if self._ready or len(pieces) > 1 else pieces[0]

    def _take_close_notify(self) -> None:
        if not self._may_hand_over or not self._frames.is_between_frames:
            raise StreamReset("the channel ended inside a tunnel")
        self._receives_raw = True
        assert isinstance(self._tls, TlsStream), "messages are never handed over"
        if raw := self._tls.take_raw():
            self._ready += raw
        self._free_tls()

    def _free_tls(self) -> None:
        """Let go of the TLS state once no direction needs it: it is most of an idle tunnel's memory."""
        if self.is_raw:
            assert isinstance(self._tls, TlsStream), "messages are never handed over"
            self._frames = _NO_FRAMES
            self._tls.free()
            FreedMemory.of(asyncio.get_running_loop()).count()
