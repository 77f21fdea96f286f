"""The relay: bytes from each side to the other until both directions have ended, each by itself.

Between sockets, TLS or not, `arcgate.net.carriage` does it without tasks. Streams of other kinds are carried
here by a task for each direction.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeGuard

from arcgate.net.carriage import Carriage
from arcgate.net.streams import ByteStream, PromptStream, SinkReset, StreamReset
from arcgate.net.tasks import cancel
from arcgate.net.traffic import Ending, HandOver, Traffic

__all__ = ["Ending", "HandOver", "Traffic", "relay"]


class SideReset(Exception):
    """A side broke; `ending` says which."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


@dataclass(slots=True)
class _Direction:
    """One direction of a relay."""

    source: ByteStream
    sink: ByteStream
    source_broke: Ending
    sink_broke: Ending
    traffic: Traffic
    is_up: bool

    async def run(self) -> None:
        """Carry everything, then end the sink; raises SideReset."""
        try:
            while data := await self._receive():
                await self._pass_on(data)
        except SinkReset:
            raise SideReset(self.sink_broke) from None
        except StreamReset:
            raise SideReset(self.source_broke) from None
        try:
            await self.sink.end()
        except StreamReset:
            raise SideReset(self.sink_broke) from None

    async def _receive(self) -> bytes:
        pacing = self.traffic.pacing
        while pacing is not None:
            turn = asyncio.Event()
            if pacing.may_carry(turn.set):
                break
            await turn.wait()
        return await self.source.receive()

    async def _pass_on(self, data: bytes) -> None:
        try:
            await self.sink.send(data)
        except StreamReset as error:
            raise SinkReset(str(error)) from None
        self.traffic.count(len(data), is_up=self.is_up, now=asyncio.get_running_loop().time())


def relay(
    client: ByteStream,
    target: ByteStream,
    traffic: Traffic,
    *,
    idle_timeout: float,
    half_closed_timeout: float,
    hand_over: HandOver | None = None,
) -> Coroutine[Any, Any, Ending]:
    """Carry bytes both ways; a direction's end is passed on and the other one goes on.

    Returns how it ended and leaves both streams open: after COMPLETED close them, after anything else abort
    them, so that a cut is visible to the peer. Time-outs are in seconds without a byte in either direction.
    Cancelling it is safe; bytes are counted when they have been handed to the receiving side's socket.
    """
    loop = asyncio.get_running_loop()
    traffic.last = loop.time()
    if _is_prompt(client) and _is_prompt(target):
        return Carriage(client, target, traffic, idle_timeout, half_closed_timeout, hand_over).run()
    up = _Direction(client, target, Ending.CLIENT_RESET, Ending.TARGET_RESET, traffic, is_up=True)
    down = _Direction(target, client, Ending.TARGET_RESET, Ending.CLIENT_RESET, traffic, is_up=False)
    return _pump(up, down, traffic, idle_timeout, half_closed_timeout)


def _is_prompt(stream: ByteStream) -> TypeGuard[PromptStream]:
    return isinstance(stream, PromptStream) and stream.readiness is not None


async def _pump(
    up: _Direction, down: _Direction, traffic: Traffic, idle_timeout: float, half_closed_timeout: float
) -> Ending:
    """Run both until they have ended, one of them broke, or nothing has moved for too long."""
    loop = asyncio.get_running_loop()
    pumps = {loop.create_task(up.run(), name="relay up"), loop.create_task(down.run(), name="relay down")}
    pending = set(pumps)
    half_closed_at = 0.0
    try:
        while pending:
            limit = idle_timeout if len(pending) == 2 else half_closed_timeout
            left = max(traffic.last, half_closed_at) + limit - loop.time()
            if left <= 0:
                return Ending.IDLE
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                error = pump.exception()
                if isinstance(error, SideReset):
                    return error.ending
                if error is not None:
                    raise error
                half_closed_at = loop.time()
        return Ending.COMPLETED
    finally:
        await cancel(*pumps)
