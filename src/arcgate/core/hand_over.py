"""Hand-over as a policy: how early a tunnel whose own TLS is 1.3 may leave the channel's TLS.

Agent, gateway node and gateway resource each have a say; the strictest of them holds. What a hand-over is, and
when the bytes allow it: `arcgate.net.carriage` and `arcgate.wire.inner_tls`.
"""

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


def strictest(*modes: HandOverMode) -> HandOverMode:
    """Return the strictest of some modes."""
    return min(modes, key=lambda mode: mode.strictness)


def parse_mode(text: str) -> HandOverMode:
    """Return the mode of that name; off for what we don't know, such as a mode of a later version."""
    return HandOverMode(text) if text in MODES else HandOverMode.OFF
