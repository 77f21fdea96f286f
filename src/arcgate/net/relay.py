"""The relay: bytes from each side to the other until both directions have ended, each by itself."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import cancel


class Ending(StrEnum):
    """How a relay ended."""

    COMPLETED = "completed"
    CLIENT_RESET = "client_reset"
    TARGET_RESET = "target_reset"
    IDLE = "idle_timeout"


@dataclass(slots=True)
class Traffic:
    """What a tunnel has carried so far, in bytes, and when it last did (the loop's clock)."""

    up: int = 0
    down: int = 0
    last: float = 0


class _SideReset(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


async def relay(
    client: ByteStream, target: ByteStream, traffic: Traffic, *, idle_timeout: float, half_closed_timeout: float
) -> Ending:
    """Carry bytes both ways; a direction's end is passed on and the other one goes on.

    Returns how it ended and leaves both streams open: after COMPLETED close them, after anything else abort
    them, so that a cut is visible to the peer. Time-outs are in seconds without a byte in either direction.
    Cancelling it is safe; bytes are counted when they have been handed to the receiving side's socket.
    """
    loop = asyncio.get_running_loop()
    traffic.last = loop.time()

    async def up() -> None:
        await _pump(client, target, Ending.CLIENT_RESET, Ending.TARGET_RESET, count_up)

    async def down() -> None:
        await _pump(target, client, Ending.TARGET_RESET, Ending.CLIENT_RESET, count_down)

    def count_up(size: int) -> None:
        traffic.up += size
        traffic.last = loop.time()

    def count_down(size: int) -> None:
        traffic.down += size
        traffic.last = loop.time()

    pumps = {loop.create_task(up(), name="relay up"), loop.create_task(down(), name="relay down")}
    pending = set(pumps)
    try:
        while pending:
            limit = idle_timeout if len(pending) == 2 else half_closed_timeout
            left = traffic.last + limit - loop.time()
            if left <= 0:
                return Ending.IDLE
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                error = pump.exception()
                if isinstance(error, _SideReset):
                    return error.ending
                if error is not None:
                    raise error
        return Ending.COMPLETED
    finally:
        await cancel(*pumps)


async def _pump(source: ByteStream, sink: ByteStream, source_broke: Ending, sink_broke: Ending, count: object) -> None:
    assert callable(count)
    while True:
        try:
            data = await source.receive()
        except StreamReset:
            raise _SideReset(source_broke) from None
        try:
            if not data:
                await sink.end()
                return
            await sink.send(data)
        except StreamReset:
            raise _SideReset(sink_broke) from None
        count(len(data))
