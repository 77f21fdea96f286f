"""What decides the way of an outgoing connection, as one immutable value: goal, local settings, cloud, certificate.

Whoever owns the files (Arc Proxy, himdsd, a command) makes it; `agent.outbound` takes the newest for each connection.
"""

from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

from arcgate.agent.automatic_proxies import AutomaticProxies
from arcgate.core.errors import ArcgateError
from arcgate.core.hand_over import HandOverPolicy
from arcgate.core.names import HostName, Target
from arcgate.core.patterns import EndpointPattern
from arcgate.core.proxy_exemptions import is_exempt
from arcgate.core.routing import Goal, Routing
from arcgate.core.urls import Url
from arcgate.net.proxy_mechanisms import ProxyAccess


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of each step of a connection, in seconds."""

    dial: float = 10
    handshake: float = 10
    answer: float = 20
    """From CONNECT to its answer; the gateway behind it gets 5 for DNS and 10 for its own dial."""


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """A gateway as it is reached: the name that TLS verifies, its port, and what is dialled in place of the name."""

    host: HostName
    port: int = 443
    address: Target | None = None

    @property
    def dialled(self) -> Target:
        """Host and port that the connection goes to."""
        return self.address or Target(self.host, self.port)

    @property
    def name(self) -> str:
        """The gateway for messages and logs, without the usual port."""
        # Each tunnel keeps it.
        return self.host if self.port == 443 else intern(f"{self.host}:{self.port}")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One state of everything that decides about ways. Replaced as a whole, never changed."""

    routing: Routing = field(default_factory=lambda: Routing(Goal()))
    proxy: Url | None = None
    """The enterprise proxy, proxy.url; the first one of several."""
    further_proxies: tuple[Url, ...] = ()
    """Those that are tried when it doesn't work."""
    automatic: AutomaticProxies | None = None
    """The PAC file that chooses the proxies; `proxy` only stands in for them then."""
    proxy_access: ProxyAccess = field(default_factory=ProxyAccess)
    gateway_address: Target | None = None
    """The setting gateway.address: dialled in place of the gateway's own name."""
    front: GatewayPlace | None = None
    """The gateway that the cloud definition names for machines without one of their own."""
    control: tuple[EndpointPattern, ...] = ()
    """The cloud's control hosts, for machines that have no goal yet."""
    ca_pem: str = ""
    """Authorities to trust for the cloud beside the system's."""
    inspection_ca: str = ""
    """Authorities of the enterprise's inspection of TLS, trusted on purpose (inspection.ca)."""
    ping_interval: float = 0
    """Seconds between pings on silent signed channels (inspection.pinginterval); 0 sends none."""
    certificate: tuple[Path, Path] | None = None
    """Chain and key of the machine, when there are any."""
    arc_proxy: Target | None = None
    """Where a running Arc Proxy of this machine listens."""
    timeouts: Timeouts = Timeouts()
    hand_over: HandOverPolicy = field(default_factory=HandOverPolicy)
    """Which tunnels may leave the channel's TLS, and when (arcproxy.handover)."""
    answers_early: bool = False
    """Whether clients get their 200 before the gateway's, where that can be (arcproxy.earlyanswer)."""
    problem: ArcgateError | None = None
    """Why the ways are not known: a file was damaged before it was ever read. Nothing is opened then."""

    @property
    def gateway(self) -> GatewayPlace | None:
        """The machine's own gateway, whether in use or not."""
        goal = self.routing.goal
        if not goal.has_gateway:
            return None
        return GatewayPlace(HostName(goal.gateway_host), goal.gateway_port, self.gateway_address)

    @property
    def proxy_name(self) -> str:
        """What people call the enterprise proxy: its URL, or the PAC file; empty for none."""
        if self.automatic is not None:
            return f"PAC file {self.automatic.place}"
        return self.proxy.origin if self.proxy is not None else ""

    def is_control(self, target: Target) -> bool:
        """Whether the target is one of the cloud's control hosts."""
        return any(pattern.matches(target) for pattern in (*self.control, *self.routing.goal.control))

    def proxy_towards(self, target: Target) -> Url | None:
        """Return the enterprise proxy that connections to this place (a gateway) take, None for direct ones."""
        if self.proxy is None:
            return None
        is_exempt_ = is_exempt(target, self.routing.proxy_exemptions)
        is_exempt_ = is_exempt_ or any(pattern.matches(target) for pattern in self.routing.proxy_bypass)
        return None if is_exempt_ else self.proxy
