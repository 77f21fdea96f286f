"""Connections that an HTTP client keeps for its next requests, so that a poller does not make a tunnel for each."""

import asyncio
from dataclasses import dataclass, field

import h11

from arcgate.core.urls import Url
from arcgate.net.streams import ByteStream, close_gently
from arcgate.net.tasks import spawn

LONGEST_KEPT = 60.0
"""Seconds after which an unused connection isn't used any more; less than our control plane keeps it (75)."""


@dataclass(eq=False, slots=True)
class Line:
    """A connection to one origin with the state of its HTTP/1.1."""

    stream: ByteStream
    epoch: int
    """The client's way to servers when it was opened; lines of an older one aren't kept."""
    protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    was_used: bool = False
    has_answered: bool = False
    """Whether a byte of the current answer has come."""
    good_until: float = 0

    @property
    def is_free(self) -> bool:
        """Whether the last exchange is complete and another one may follow."""
        return self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE


class KeptLines:
    """Idle connections by origin. Not for several loops or threads."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Line]] = {}
        self.epoch = 0

    def take(self, url: Url) -> Line | None:
        """Return an idle connection to the URL's origin, None when there is none young enough."""
        lines = self._idle.get(url.origin, [])
        now = asyncio.get_running_loop().time()
        while lines:
            line = lines.pop()
            if line.good_until > now:
                return line
            spawn("close an old connection", close_gently(line.stream))
        return None

    def keep(self, url: Url, line: Line) -> bool:
        """Keep a connection if another exchange may follow on it; say whether it is kept."""
        if not line.is_free or line.epoch != self.epoch:
            return False
        line.protocol.start_next_cycle()
        line.was_used, line.has_answered = True, False
        line.good_until = asyncio.get_running_loop().time() + LONGEST_KEPT
        self._idle.setdefault(url.origin, []).append(line)
        return True

    async def close(self) -> None:
        """Close all idle connections, and keep none of those that are in use."""
        self.epoch += 1
        idle, self._idle = self._idle, {}
        for lines in idle.values():
            for line in lines:
                await close_gently(line.stream)
