"""Incoming connections: to ports of a machine that only ever connects out, by way of its gateway. Pure.

The machine and the operator's command both ask the gateway by CONNECT for names below a domain that can't exist
(RFC 2606): the machine's WAITING keeps a channel ready, the operator's `machine_target` asks for a port.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from arcgate.core.guids import is_lower_guid
from arcgate.core.names import HostName, Target
from arcgate.core.verdicts import Reason

_SUFFIX = ".machine.arcgate.invalid"
WAITING = Target(HostName("waiting.arcgate.invalid"), 1)
"""What a machine asks for when it waits for incoming connections."""

LOGIN_ACTION = "Microsoft.HybridCompute/machines/login/action"
"""The data action that a role must have for connections to a machine."""

DECLINED = frozenset(
    {
        Reason.INCOMING_NOT_ENABLED,
        Reason.INCOMING_PORT_NOT_ALLOWED,
        Reason.LIMIT_REACHED,
        Reason.TARGET_REFUSED,
        Reason.TARGET_TIMEOUT,
        Reason.TARGET_UNREACHABLE,
    }
)
"""Why a machine may decline a connection."""


def machine_target(machine_id: str, port: int) -> Target:
    """Return what an operator's command asks a gateway for."""
    return Target(HostName(f"{machine_id}{_SUFFIX}"), port)


def machine_of(target: Target) -> str | None:
    """Return the id of the machine that a target stands for, None when it is an ordinary one."""
    host = str(target.host)
    name = host.removesuffix(_SUFFIX)
    return name if name != host and is_lower_guid(name) else None


def home_of(machine_id: str, workers: int) -> int:
    """Return the number of the worker where a machine and those who want to connect to it meet."""
    return int.from_bytes(sha256(machine_id.encode()).digest()[:8], "big") % workers


@dataclass(frozen=True, slots=True)
class IncomingRules:
    """Which incoming connections the settings of a machine allow."""

    is_enabled: bool = False
    ports: frozenset[int] = frozenset()

    @classmethod
    def of(cls, values: Mapping[str, Any], own_ports: Collection[int] = ()) -> "IncomingRules":
        """Return the rules that the settings' values say; ports of the agent itself are never among them."""
        is_enabled = values.get("incomingconnections.enabled", True) and values.get("config.mode", "full") == "full"
        ports = {int(port) for port in values.get("incomingconnections.ports", ())}
        return cls(bool(is_enabled), frozenset(ports.difference(own_ports)))

    @property
    def wants_any(self) -> bool:
        """Whether there is any connection to wait for."""
        return self.is_enabled and bool(self.ports)

    def refusal_of(self, port: int) -> Reason | None:
        """Return why a connection to the port is declined, None when it is allowed."""
        if not self.is_enabled:
            return Reason.INCOMING_NOT_ENABLED
        return None if port in self.ports else Reason.INCOMING_PORT_NOT_ALLOWED
