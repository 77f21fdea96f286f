"""Connections to targets: resolve once, let the policy look at every address, dial exactly those it allowed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from arcgate.core.addresses import NEVER_A_TARGET, classify
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address, HostName, Target
from arcgate.core.policy import Policy
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.tunnels import Tunnel
from arcgate.net.dialer import dial
from arcgate.net.resolver import Resolver
from arcgate.net.streams import SocketStream


class Refused(Exception):
    """The tunnel can't be opened; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Outbound:
    """Opens connections for tunnels. Time-outs are in seconds."""

    resolver: Resolver
    control_address: Target | None
    """Where all control names are, None to resolve them like other names."""
    is_own_address: Callable[[Address, int], bool]
    dns_timeout: float
    dial_timeout: float
    prefer: Callable[[HostName, Address], None] = lambda _host, _address: None
    """Told which address of a name could be reached, when that was not the first."""

    async def open(self, tunnel: Tunnel, policy: Policy) -> SocketStream:
        """Return a connection to the tunnel's target and note its address in the tunnel; raises Refused."""
        target = tunnel.target
        if tunnel.verdict.reason is Reason.CONTROL_PLANE and self.control_address is not None:
            target = self.control_address
        addresses = self._allowed(tunnel, policy, await self._resolve(target), target.port)
        tunnel.address = addresses[0]
        try:
            stream = await dial(addresses, target.port, self.dial_timeout)
        except HopError as error:
            raise Refused(_dial_verdict(tunnel.verdict, error)) from None
        if len(addresses) > 1:
            tunnel.address = ip_address(stream.peer)
            if tunnel.address != addresses[0] and isinstance(target.host, str):
                self.prefer(HostName(str(target.host)), tunnel.address)
        return stream

    async def open_control(self) -> SocketStream:
        """Return a connection to the control plane's listener; raises HopError."""
        assert self.control_address is not None
        addresses = await self._look_up(self.control_address)
        return await dial(addresses, self.control_address.port, self.dial_timeout)

    async def _resolve(self, target: Target) -> list[Address]:
        try:
            return await self._look_up(target)
        except HopError as error:
            raise Refused(Verdict(Reason.DNS_FAILED, detail=error.cause)) from None

    async def _look_up(self, target: Target) -> list[Address]:
        if not isinstance(target.host, str):
            return [target.host]
        try:
            async with asyncio.timeout(self.dns_timeout):
                return await self.resolver.resolve(HostName(str(target.host)))
        except TimeoutError:
            raise HopError(
                Hop.DNS, "DNS_FAILED", f"{target.host} could not be resolved.", cause="the DNS servers did not answer"
            ) from None

    def _allowed(self, tunnel: Tunnel, policy: Policy, addresses: list[Address], port: int) -> list[Address]:
        verdicts = [self._decide(tunnel, policy, address, port) for address in addresses]
        allowed = [address for address, verdict in zip(addresses, verdicts, strict=True) if verdict.is_allowed]
        if not allowed:
            tunnel.address = addresses[0]
            raise Refused(verdicts[0])
        return allowed

    def _decide(self, tunnel: Tunnel, policy: Policy, address: Address, port: int) -> Verdict:
        if tunnel.verdict.reason is Reason.CONTROL_PLANE:
            # The operator put the control plane where it is, a private network as a rule.
            kind = classify(address)
            if kind in NEVER_A_TARGET:
                return Verdict(Reason.ADDRESS_NOT_ALLOWED, detail=f"{address} is {kind}")
            return tunnel.verdict
        if self.is_own_address(address, port):
            return Verdict(Reason.LOOP, tunnel.verdict.feature, tunnel.verdict.rule, f"{address} port {port} is us")
        assert tunnel.admission.gateway is not None
        return policy.decide_address(tunnel.verdict, tunnel.admission.gateway, tunnel.target, address)


def _dial_verdict(verdict: Verdict, error: HopError) -> Verdict:
    if error.code == "NO_DESCRIPTORS":
        return Verdict(Reason.LIMIT_REACHED, detail="the gateway's process has no descriptors left")
    reasons = {"TCP_REFUSED": Reason.TARGET_REFUSED, "TCP_TIMEOUT": Reason.TARGET_TIMEOUT}
    reason = reasons.get(error.code, Reason.TARGET_UNREACHABLE)
    return Verdict(reason, verdict.feature, verdict.rule, error.sentence)
