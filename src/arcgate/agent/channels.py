"""Channels: TLS connections from this machine to a gateway, ready for a CONNECT.

Arc Proxy keeps some: a channel comes back when its tunnel has ended cleanly, and one is opened ahead while there is
traffic. A CONNECT then costs one round trip to the gateway. Idle ones are closed after a while, dead ones are found
before they are given out.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arcgate.agent import presented
from arcgate.agent.hops import Hops
from arcgate.agent.signed_channels import Carriers, Signer
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.names import Target
from arcgate.net.dialer import ConnectRefused, start_tls
from arcgate.net.messages import MessageStream
from arcgate.net.streams import StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream
from arcgate.wire.heads import Fields

LAST_WORDS = 0.5
"""Seconds that we look for the reason of a broken channel."""

LONGEST_IDLE = 60.0
"""Seconds after which a channel that nobody needed is closed; less than a gateway's channel_idle_timeout."""

MOST_AHEAD = 8
"""Channels, idle and busy, up to which one is opened ahead: more would take the processor from the busy ones."""

LOOK_AGAIN = 1.0
"""Seconds that we go by a look at the machine's certificate files."""

_ALERT = re.compile(r"(?:ALERT[_ ](?P<name>[A-Z_ ]+)|UNRECOGNIZED[_ ]NAME)", re.IGNORECASE)

_RENEW = "Check the machine's clock; restart himdsd, which renews the certificate, or run 'azcmagent disconnect' and "
_REMEDIES = {
    "CERTIFICATE_EXPIRED": _RENEW + "'azcmagent connect'.",
    "CERTIFICATE_REVOKED": "Run 'azcmagent disconnect' and 'azcmagent connect' on the machine.",
    "UNKNOWN_CA": "The certificate is another cloud's: compare the gateway of 'azcmagent show', and connect again.",
    "CERTIFICATE_REQUIRED": "Run 'azcmagent connect': this machine has no certificate.",
    "UNRECOGNIZED_NAME": "Compare the gateway URL of 'azcmagent show' with the operator's list of gateways.",
}
_OTHER_REMEDY = "Run 'azcmagent disconnect' and 'azcmagent connect' on the machine to get a fresh certificate."
_CERTIFICATE_ALERTS = frozenset(
    {
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "CERTIFICATE_REQUIRED",
        "UNKNOWN_CA",
        "DECRYPT_ERROR",
        "ACCESS_DENIED",
    }
)


@dataclass(frozen=True)
class _Kind:
    """What makes two channels interchangeable. The context holds authorities and the machine's certificate."""

    gateway: GatewayPlace
    proxy: str
    context: ssl.SSLContext
    certificate: tuple[Path, Path] | None
    inspection_ca: str

    def __hash__(self) -> int:
        # Asked for several times in each tunnel; what else differs is told apart by the comparison.
        return id(self.context)


@dataclass(frozen=True, slots=True)
class _KnownKind:
    """The kind of the last question, which the next one will most likely ask for too."""

    gateway: GatewayPlace
    surroundings: Surroundings
    with_certificate: bool
    until: float
    kind: _Kind


@dataclass(eq=False, slots=True)
class Channel:
    """A channel that is its acquirer's own until it is given back or done."""

    tls: TlsStream | MessageStream
    kind: _Kind
    owner: "GatewayChannels"
    was_kept: bool = False
    idle_since: float = 0
    signer: Signer | None = None
    """Makes the proofs of a signed channel."""

    def proof(self, target: Target, correlation_id: str) -> Fields:
        """Return what the next CONNECT needs beside the usual fields."""
        return self.signer.proof(target, correlation_id) if self.signer is not None else ()

    def done(self, is_reusable: bool) -> None:
        """Give it back; see `GatewayChannels.done`."""
        self.owner.done(self, is_reusable=is_reusable)


class GatewayChannels:
    """Gives channels to gateways, by the enterprise proxy where one is set.

    `most_kept` says how many idle channels may be kept; with 0 each one is fresh.
    """

    def __init__(self, hops: Hops, most_kept: Callable[[], int] = lambda: 0) -> None:
        self._hops = hops
        self._carriers = Carriers(hops)
        self._most_kept = most_kept
        self._idle: dict[_Kind, list[Channel]] = {}
        self._sessions: dict[_Kind, ssl.SSLSession] = {}
        self._busy = 0
        self._opening: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._last_kind: _KnownKind | None = None

    async def acquire(
        self, gateway: GatewayPlace, surroundings: Surroundings, *, with_certificate: bool = True, fresh: bool = False
    ) -> Channel:
        """Return a channel; raises HopError (DNS, TCP, PROXY, GATEWAY or TLS) or StateError.

        `fresh` is for a second try after a kept channel failed: then the others of its kind are dead as well.
        """
        kind = self._kind(gateway, surroundings, with_certificate=with_certificate)
        if fresh:
            await self._close_idle(kind)
        channel = self._take(kind) or await self._open(kind, surroundings)
        self._give_out(kind, surroundings)
        return channel

    def acquire_warm(self, gateway: GatewayPlace, surroundings: Surroundings) -> Channel | None:
        """Return an idle channel, None when there is none; raises StateError."""
        kind = self._kind(gateway, surroundings, with_certificate=True)
        channel = self._take(kind)
        if channel is not None:
            self._give_out(kind, surroundings)
        return channel

    def _give_out(self, kind: _Kind, surroundings: Surroundings) -> None:
        self._busy += 1
        self._open_ahead(kind, surroundings)

    def done(self, channel: Channel, *, is_reusable: bool) -> None:
        """Take note that a channel's tunnel has ended, and keep the channel if it can carry another one."""
        self._busy -= 1
        if not is_reusable:
            return
        # Taking a session costs as much as a small tunnel, so one is kept until it is of no use any more.
        if channel.kind not in self._sessions and isinstance(channel.tls, TlsStream):
            session = channel.tls.tls.session
            if session is not None and session.has_ticket:
                self._sessions[channel.kind] = session
        if self._idle_count >= self._most_kept() or not channel.tls.is_quiet():
            spawn("close a channel", channel.tls.close())
            return
        self._keep(channel)

    async def close(self) -> None:
        """Close what is idle."""
        if self._opening is not None:
            await cancel(self._opening)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for kind in list(self._idle):
            await self._close_idle(kind)

    @property
    def _idle_count(self) -> int:
        return sum(len(channels) for channels in self._idle.values())

    def _kind(self, gateway: GatewayPlace, surroundings: Surroundings, *, with_certificate: bool) -> _Kind:
        now = asyncio.get_running_loop().time()
        last = self._last_kind
        is_same = last is not None and last.surroundings is surroundings and last.with_certificate == with_certificate
        if last is not None and is_same and now < last.until and last.gateway == gateway:
            return last.kind
        certificate = surroundings.certificate if with_certificate else None
        proxy = surroundings.proxy_towards(gateway.dialled)
        context = self._hops.trust.gateways(surroundings.ca_pem, certificate)
        origin = f"{proxy.user}@{proxy.origin}" if proxy else ""
        kind = _Kind(gateway, origin, context, certificate, surroundings.inspection_ca)
        self._last_kind = _KnownKind(gateway, surroundings, with_certificate, now + LOOK_AGAIN, kind)
        return kind

    def _keep(self, channel: Channel) -> None:
        loop = asyncio.get_running_loop()
        channel.was_kept, channel.idle_since = True, loop.time()
        self._idle.setdefault(channel.kind, []).append(channel)
        if self._expiry is None:
            self._expiry = loop.call_later(LONGEST_IDLE, self._expire)

    def _take(self, kind: _Kind) -> Channel | None:
        """Return the channel that was used last and is still alive: the others may age."""
        while channels := self._idle.get(kind):
            channel = channels.pop()
            if channel.tls.is_quiet():
                return channel
            spawn("close a dead channel", channel.tls.close())
        self._idle.pop(kind, None)
        return None

    def _expire(self) -> None:
        """Close the channels that nobody needed for long, and look again when the next one may be due."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        oldest = loop.time()
        for kind, channels in list(self._idle.items()):
            for channel in [one for one in channels if loop.time() - one.idle_since >= LONGEST_IDLE]:
                channels.remove(channel)
                spawn("close an idle channel", _part(channel.tls))
            if not channels:
                del self._idle[kind]
            oldest = min([oldest, *(one.idle_since for one in channels)])
        if self._idle:
            self._expiry = loop.call_later(max(oldest + LONGEST_IDLE - loop.time(), 0.01), self._expire)

    async def _close_idle(self, kind: _Kind) -> None:
        for channel in self._idle.pop(kind, []):
            await _part(channel.tls)

    def _open_ahead(self, kind: _Kind, surroundings: Surroundings) -> None:
        """Have the next channel ready before it is asked for: one at a time, and only while there is traffic."""
        is_opening = self._opening is not None and not self._opening.done()
        most = min(MOST_AHEAD, self._most_kept())
        if kind.inspection_ca:
            return  # a signed channel is its machine's only once it has carried a request
        if is_opening or self._idle.get(kind) or self._busy + self._idle_count >= most:
            return
        self._opening = spawn("open a channel ahead", self._open_and_keep(kind, surroundings))

    async def _open_and_keep(self, kind: _Kind, surroundings: Surroundings) -> None:
        try:
            self._keep(await self._open(kind, surroundings))
        except ArcgateError:
            return  # whoever needs a channel will meet the error and say so

    async def _open(self, kind: _Kind, surroundings: Surroundings) -> Channel:
        if kind.inspection_ca:
            return await self._open_by_inspection(kind, surroundings)
        stream = await self._hops.towards(kind.gateway.dialled, surroundings)
        session = self._sessions.get(kind)
        try:
            tls = await start_tls(
                stream, kind.context, kind.gateway.host, surroundings.timeouts.handshake, session=session
            )
            if session is not None and not tls.tls.session_reused:  # it has grown old, or the gateway's key is another
                self._sessions.pop(kind, None)
            return Channel(tls, kind, self)
        except HopError as error:
            await stream.close()
            raise explain(await self._with_issuer(error, kind, surroundings), kind.gateway) from None
        except BaseException:
            await stream.close()
            raise

    async def _open_by_inspection(self, kind: _Kind, surroundings: Surroundings) -> Channel:
        """Return a channel where TLS may be opened on the way, by somebody whom an admin has trusted."""
        try:
            carrier = await self._carriers.open(kind.gateway, kind.context, kind.certificate, surroundings)
        except HopError as error:
            raise explain(await self._with_issuer(error, kind, surroundings), kind.gateway) from None
        return Channel(carrier.stream, kind, self, signer=carrier.signer)

    async def _with_issuer(self, error: HopError, kind: _Kind, surroundings: Surroundings) -> HopError:
        return await presented.explain(
            error, lambda: self._hops.towards(kind.gateway.dialled, surroundings), kind.gateway.host
        )


async def _part(channel: TlsStream | MessageStream) -> None:
    """Close an idle channel politely, so that the gateway doesn't take it for a cut."""
    with contextlib.suppress(StreamReset):
        await channel.end()
    await channel.close()


def explain(error: HopError, gateway: GatewayPlace) -> HopError:
    """Return the error, in words of its own when it is a TLS alert of the gateway's."""
    match = _ALERT.search(error.cause)
    if match is None or isinstance(error, ConnectRefused):
        return error
    name = (match["name"] or "unrecognized name").strip().replace(" ", "_").upper()
    words = name.replace("_", " ").lower()
    if name in _CERTIFICATE_ALERTS:
        sentence = f"The gateway {gateway.name} refused this machine's certificate."
        remedy = _REMEDIES.get(name, _OTHER_REMEDY)
        return HopError(Hop.GATEWAY, "GATEWAY_REFUSED_CERTIFICATE", sentence, cause=words, remedy=remedy)
    if name == "UNRECOGNIZED_NAME":
        sentence = f"No gateway of the name {gateway.host} is known there."
        return HopError(Hop.GATEWAY, "GATEWAY_UNKNOWN", sentence, cause=words, remedy=_REMEDIES[name])
    return error


async def last_words(channel: TlsStream | MessageStream) -> str:
    """Return the alert that a broken channel still holds, or an empty string.

    A gateway that refuses our certificate says so after our handshake: the CONNECT that is under way meets a reset, and
    the alert stays unread.
    """
    try:
        async with asyncio.timeout(LAST_WORDS):
            await channel.receive()
    except StreamReset as error:
        return str(error)
    except TimeoutError:
        pass
    return ""
