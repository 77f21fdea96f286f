"""Bounds of Arc Proxy, from the machine's settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arcgate.wire.heads import Limits


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """Time-outs in seconds, and how much at once."""

    connections: int = 4096
    head_timeout: float = 10
    idle_timeout: float = 14_400
    half_closed_timeout: float = 300
    drain_timeout: float = 30
    channels: int = 64
    head: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ProxyLimits":
        """Return the limits that the settings' values say."""
        default = cls()
        return cls(
            values.get("arcproxy.connections", default.connections),
            values.get("arcproxy.timeout.head", default.head_timeout),
            values.get("arcproxy.timeout.idle", default.idle_timeout),
            values.get("arcproxy.timeout.halfclosed", default.half_closed_timeout),
            values.get("arcproxy.timeout.drain", default.drain_timeout),
            values.get("arcproxy.channels", default.channels),
        )
