"""Hand-over as a policy: how early a tunnel whose own TLS is 1.3 may leave the channel's TLS.

Agent, gateway node and gateway resource each have a say; the strictest of them holds. What a hand-over is, and
when the bytes allow it: `arcgate.net.carriage` and `arcgate.wire.inner_tls`.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class HandOverMode(StrEnum):
    """When a tunnel that may be handed over is, the strictest first."""

    OFF = "off"
    BULK = "bulk"
    IDLE = "idle"
    EARLY = "early"

    @property
    def strictness(self) -> int:
        """The place in the order, 0 for the strictest."""
        return _ORDER[self]


_ORDER = {mode: place for place, mode in enumerate(HandOverMode)}

MODES = tuple(mode.value for mode in HandOverMode)
"""The modes as settings name them."""

BULK = 64 * 1024
"""Bytes of a direction after which it counts as bulk, unless a setting says otherwise."""

IDLE = 5.0
"""Seconds without a byte after which a tunnel counts as idle, unless a setting says otherwise."""


@dataclass(frozen=True, slots=True)
class HandOverPolicy:
    """What one side settles: the mode, the bytes that make bulk, and the seconds that make idle."""

    mode: HandOverMode = HandOverMode.IDLE
    bulk: int = BULK
    idle: float = IDLE

    def limited_to(self, *modes: HandOverMode) -> "HandOverPolicy":
        """Return the policy with the strictest of its own mode and these."""
        mode = strictest(self.mode, *modes)
        return self if mode is self.mode else replace(self, mode=mode)

    @property
    def after(self) -> int:
        """Bytes of a direction that have to pass before it is handed over."""
        return 0 if self.mode is HandOverMode.EARLY else self.bulk

    @property
    def idle_after(self) -> float:
        """Seconds without a byte after which a tunnel is handed over; infinite where that is no reason."""
        return math.inf if self.mode in {HandOverMode.OFF, HandOverMode.BULK} else self.idle


def strictest(*modes: HandOverMode) -> HandOverMode:
    """Return the strictest of some modes."""
    return min(modes, key=lambda mode: mode.strictness)


def parse_mode(text: str) -> HandOverMode:
    """Return the mode of that name; off for what we don't know, such as a mode of a later version."""
    return HandOverMode(text) if text in MODES else HandOverMode.OFF
