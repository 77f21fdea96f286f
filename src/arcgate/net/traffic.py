"""What is known of a relay's bytes: how many went each way, how it ended, and when it may be handed over."""

from dataclasses import dataclass
from enum import StrEnum

from arcgate.net.pace import Meter

BULK = 64 * 1024
"""Bytes of a direction after which it counts as bulk."""

IDLE_HAND_OVER = 5.0
"""Seconds without a byte after which a tunnel that may be handed over is: that frees the memory of its TLS."""


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
    meter: Meter | None = None
    """Sees it too, where there is a limit."""

    @property
    def pacing(self) -> Meter | None:
        """The meter, if it may hold the tunnel up."""
        return self.meter if self.meter is not None and self.meter.is_pacing else None

    def count(self, size: int, *, is_up: bool, now: float) -> None:
        """Add bytes of one direction."""
        if is_up:
            self.up += size
        else:
            self.down += size
        self.last = now
        if self.meter is not None:
            self.meter.spend(size)


@dataclass(slots=True)
class HandOver:
    """When a direction leaves the channel's TLS: once `after` bytes have passed, or after `idle` seconds without.

    Both may change while a tunnel runs, as when it begins before the gateway has said what it agrees to.
    """

    after: int = BULK
    idle: float = IDLE_HAND_OVER
