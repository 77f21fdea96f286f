"""The one place that opens the agent's outgoing connections: Arc Proxy's for its clients, and the agent's own.

A way that fails is an error that names its hop. Nothing here falls back from a gateway or proxy to a direct connection.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from arcgate.agent.channels import Channel, GatewayChannels, explain, last_words
from arcgate.agent.early_answers import EarlyAnswers
from arcgate.agent.hops import Hops
from arcgate.agent.presented import behind_our_back
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.agent.trust import Trust
from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.hand_over import HandOverMode, HandOverPolicy, parse_mode
from arcgate.core.incoming import WAITING
from arcgate.core.names import Target
from arcgate.core.routing import Route, Way
from arcgate.net.channel import ChannelTunnel
from arcgate.net.credential_turns import CredentialTurns, OwnRefused, Refused
from arcgate.net.dialer import ConnectRefused, connect_through
from arcgate.net.early_tunnel import EarlyTunnel
from arcgate.net.enterprise_proxies import EnterpriseProxies, ReadyProxy
from arcgate.net.resolver import Resolver
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset
from arcgate.net.tls import TlsStream
from arcgate.wire.connect import CORRELATION_FIELD, HAND_OVER_FIELD, HOLD_END, HOLD_END_FIELD, format_connect
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import Fields

HELD_END = 30.0
"""Seconds that the end of a raw direction waits for the other one where an enterprise proxy is on the way: Squid,
tinyproxy and others end a tunnel in both directions at the first FIN."""

_log = structlog.get_logger(__name__)


NO_HAND_OVER = HandOverPolicy(HandOverMode.OFF)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An open way to a target; the gateway's name is empty for other ways.

    `hand_over` is what was agreed on for it with the gateway.
    """

    stream: ByteStream
    route: Route
    gateway: str = ""
    hand_over: HandOverPolicy = NO_HAND_OVER


def new_correlation_id() -> str:
    """Return a fresh correlation id."""
    return str(uuid.uuid4())


class Outbound:
    """Opens connections by the newest surroundings."""

    def __init__(
        self,
        surroundings: Callable[[], Surroundings],
        resolver: Resolver,
        *,
        kept_channels: Callable[[], int] = lambda: 0,
        refused: Refused | None = None,
    ) -> None:
        self._surroundings = surroundings
        self.hops = Hops(resolver, Trust(), EnterpriseProxies(turns=CredentialTurns(refused or OwnRefused())))
        self.channels = GatewayChannels(self.hops, kept_channels)
        self.early = EarlyAnswers()

    @property
    def surroundings(self) -> Surroundings:
        """The newest surroundings."""
        return self._surroundings()

    async def open(
        self, target: Target, *, correlation_id: str, route: Route | None = None, claim: Fields = ()
    ) -> Tunnel:
        """Return a tunnel to the target by its route (or the given one); `claim` tells the gateway who wants it.

        Raises HopError naming the hop that failed (ConnectRefused with the refusal when gateway or proxy said no),
        or StateError when a certificate file can't be used.
        """
        now = self.surroundings
        if now.problem is not None:
            raise now.problem.with_traceback(None)
        route = route or now.routing.route(target)
        match route.way:
            case Way.GATEWAY:
                assert now.gateway is not None
                stream, agreed = await self._by_gateway(now.gateway, target, now, correlation_id, claim=claim)
                self.early.worked(target)
                return Tunnel(stream, route, now.gateway.name, agreed)
            case Way.ENTERPRISE if now.proxy is not None:
                return Tunnel(await self.hops.by_proxy(now.proxy, target, now), route)
            case Way.DIRECT:
                return Tunnel(await self.hops.dial_target(target, now), route)
            case _:
                raise refused(target, route)

    def open_early(
        self, target: Target, *, correlation_id: str, route: Route, claim: Fields = ()
    ) -> EarlyTunnel | None:
        """Send a CONNECT on a warm channel, for a client that needn't wait for its answer.

        None when the answer has to be waited for: the target is not known to be allowed, no channel is warm, or early
        answers are not wanted. Raises StateError.
        """
        now = self.surroundings
        if now.gateway is None or not self.early.may(target, route, now):
            return None
        channel = self.channels.acquire_warm(now.gateway, now)
        if channel is None:
            return None
        try:
            fields = _fields(channel, target, correlation_id, now, claim)
            channel.tls.send_now(format_connect(target, fields))
        except StreamReset:
            self.channels.done(channel, is_reusable=False)
            channel.tls.abort()
            return None
        return EarlyTunnel(
            channel.tls,
            target,
            via=now.gateway.name,
            hand_over=now.hand_over.mode,
            hold_end=_held_end(channel, now),
            on_done=channel.done,
        )

    async def open_waiting(self, gateway: GatewayPlace, correlation_id: str) -> ByteStream:
        """Return a channel to the gateway on which it may ask for connections to this machine.

        Raises HopError or StateError.
        """
        stream, _ = await self._by_gateway(gateway, WAITING, self.surroundings, correlation_id)
        return stream

    async def open_to_proxy(self, uri: bytes, target: Target) -> tuple[ByteStream, ReadyProxy | None]:
        """Return a connection for a request in absolute form, and the enterprise proxy behind it with what it needs.

        Raises HopError (PROXY).
        """
        now = self.surroundings
        if now.problem is not None:
            raise now.problem.with_traceback(None)
        if now.proxy is None:
            raise HopError(Hop.PROXY, "PROXY_NOT_SET", "No enterprise proxy is set.", remedy="Retry the request.")
        return await self.hops.ready_proxy(now.proxy, uri, target, now)

    async def open_for_agent(self, target: Target) -> ByteStream:
        """Return a connection for the agent's own HTTPS requests; raises HopError or StateError.

        In this order: a running Arc Proxy when the gateway is in use, else the route itself; the cloud's front
        gateway for control hosts while no gateway is in use, and when the machine's own gateway fails.
        """
        now = self.surroundings
        if now.problem is not None:
            raise now.problem.with_traceback(None)
        front = now.front if now.is_control(target) else None
        if front is not None and not now.routing.uses_gateway:
            return await self._by_front(front, target, now)
        try:
            return await self._by_own_way(target, now)
        except ArcgateError as error:
            # A deleted gateway must not lock the machine out of the news that it has another one now.
            if front is None or now.routing.route(target).way is not Way.GATEWAY or front == now.gateway:
                raise
            _log.info("the gateway failed, the cloud's front gateway is used", cause=error.one_line())
            return await self._by_front(front, target, now)

    def is_end_to_end(self, target: Target) -> bool:
        """Say whether the agent's requests to the target go by a gateway: nobody else need be trusted for them."""
        now = self.surroundings
        if now.front is not None and now.is_control(target):
            return True
        return now.routing.route(target).way is Way.GATEWAY

    async def _by_own_way(self, target: Target, now: Surroundings) -> ByteStream:
        if now.routing.uses_gateway and now.arc_proxy is not None:
            stream = await self._dial_arc_proxy(now.arc_proxy, now)
            if stream is not None:
                return await self._by_arc_proxy(stream, target, now)
        return (await self.open(target, correlation_id=new_correlation_id())).stream

    async def _by_front(self, front: GatewayPlace, target: Target, now: Surroundings) -> ByteStream:
        stream, _ = await self._by_gateway(front, target, now, new_correlation_id(), with_certificate=False)
        return stream

    async def _dial_arc_proxy(self, arc_proxy: Target, now: Surroundings) -> ByteStream | None:
        """Return a connection to Arc Proxy; None when it is just starting: the way behind it is ours to take too."""
        try:
            return await self.hops.dial(arc_proxy, now)
        except HopError:
            return None

    async def _by_arc_proxy(self, stream: ByteStream, target: Target, now: Surroundings) -> ByteStream:
        # Its own steps have bounds; what it needs for all of them is the sum.
        limit = 2 * now.timeouts.dial + now.timeouts.handshake + 2 * now.timeouts.answer
        try:
            tunnel, _ = await connect_through(stream, target, limit, hop=Hop.GATEWAY, via="Arc Proxy")
        except BaseException as error:
            await stream.close()
            if isinstance(error, ConnectRefused) and error.refusal.hop in set(Hop):
                error.hop = Hop(error.refusal.hop)
            raise
        return tunnel

    async def _by_gateway(
        self,
        gateway: GatewayPlace,
        target: Target,
        now: Surroundings,
        correlation_id: str,
        *,
        with_certificate: bool = True,
        claim: Fields = (),
    ) -> tuple[ByteStream, HandOverPolicy]:
        channel = await self.channels.acquire(gateway, now, with_certificate=with_certificate)
        try:
            return await self._connect(channel, target, now, correlation_id, claim)
        except HopError as error:
            if not channel.was_kept or error.code != "GATEWAY_FAILED":
                raise
        # A kept channel can die at the very moment that it is used, by a gateway's restart for one. The gateway
        # had not answered, so nothing has been begun that a second try on a fresh channel could double.
        fresh = await self.channels.acquire(gateway, now, with_certificate=with_certificate, fresh=True)
        return await self._connect(fresh, target, now, correlation_id, claim)

    async def _connect(
        self, channel: Channel, target: Target, now: Surroundings, correlation_id: str, claim: Fields
    ) -> tuple[ByteStream, HandOverPolicy]:
        """Return a tunnel on the channel, which is done with when the tunnel is, and the agreement; raises HopError."""
        gateway = channel.kind.gateway
        fields = _fields(channel, target, correlation_id, now, claim)
        try:
            stream, answer = await connect_through(
                channel.tls, target, now.timeouts.answer, hop=Hop.GATEWAY, via=gateway.name, fields=fields
            )
        except BaseException as error:
            self.channels.done(channel, is_reusable=False)
            if isinstance(error, HopError) and error.code == "GATEWAY_FAILED":
                error.cause = await last_words(channel.tls) or error.cause
            if isinstance(error, HopError) and channel.kind.certificate and isinstance(channel.tls, TlsStream):
                error = behind_our_back(error, channel.tls, gateway.host)
            await channel.tls.close()
            raise (explain(error, gateway) if isinstance(error, HopError) else error) from None
        return self._on_channel(channel, stream, dict(answer), now)

    def _on_channel(
        self, channel: Channel, stream: ByteStream, answer: dict[str, str], now: Surroundings
    ) -> tuple[ByteStream, HandOverPolicy]:
        """Return the tunnel's stream: frames where the gateway speaks them, and then the channel comes back."""
        if answer.get(FRAMES_FIELD.lower()) != FRAMES_VERSION:
            self.channels.done(channel, is_reusable=False)
            return stream, NO_HAND_OVER
        self.early.spoke_frames(channel.kind.gateway)
        agreed = now.hand_over.limited_to(parse_mode(answer.get(HAND_OVER_FIELD.lower(), "")))
        tunnel = ChannelTunnel(
            channel.tls,
            stream.take_prefix() if isinstance(stream, PrefixedStream) else b"",
            may_hand_over=agreed.mode is not HandOverMode.OFF,
            hold_end=_held_end(channel, now),
            on_done=channel.done,
        )
        return tunnel, agreed


def _fields(channel: Channel, target: Target, correlation_id: str, now: Surroundings, claim: Fields) -> Fields:
    """Return what a CONNECT to a gateway says and offers."""
    mode = now.hand_over.mode
    fields: Fields = ((CORRELATION_FIELD, correlation_id), (FRAMES_FIELD, FRAMES_VERSION))
    if mode is not HandOverMode.OFF:
        fields = (*fields, (HAND_OVER_FIELD, mode))
        if _held_end(channel, now):
            fields = (*fields, (HOLD_END_FIELD, HOLD_END))
    if claim and isinstance(channel.tls, TlsStream):  # who opens TLS on the path need not know, and could change it
        fields = (*fields, *claim)
    return (*fields, *channel.proof(target, correlation_id))


def _held_end(channel: Channel, now: Surroundings) -> float:
    return HELD_END if now.proxy_towards(channel.kind.gateway.dialled) else 0


def refused(target: Target, route: Route) -> HopError:
    """Return the error of a route that refuses."""
    return HopError(
        Hop.POLICY,
        "ROUTE_REFUSED",
        f"Arc Proxy does not carry requests to {target}.",
        cause=route.reason,
        remedy="Connect to it without the proxy: add its name to the client's no_proxy.",
    )
