"""One endpoint, hop by hop: each is timed, and the first that fails is the news.

It takes the same way as the agent's own requests, with the same parts, but never through the running Arc Proxy: a
hop that hides behind another process can't be named.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from arcgate.agent.channels import explain, last_words
from arcgate.agent.check.diagnosis import diagnose
from arcgate.agent.check.gateway_answer import hear, judge
from arcgate.agent.check.model import Endpoint, Outcome, Row
from arcgate.agent.check.path import Path, path_to
from arcgate.agent.check.trace import Trace
from arcgate.agent.hops import Hops
from arcgate.agent.outbound import new_correlation_id, refused
from arcgate.agent.presented import describe, is_issued_by, parse
from arcgate.agent.signed_channels import Carrier, CertificateFiles, upgrade
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.addresses import AddressClass, classify
from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.names import Address, Target
from arcgate.core.routing import Way
from arcgate.core.urls import Url
from arcgate.core.verdicts import Reason
from arcgate.net.channel import ChannelTunnel
from arcgate.net.dialer import ConnectRefused, connect_through, dial
from arcgate.net.proxy_refusals import NOT_AUTHENTICATED
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset, close_gently
from arcgate.net.tls import TlsStream, join_pem
from arcgate.wire.connect import CORRELATION_FIELD
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import Fields

_WHO_ASKS = frozenset(
    {
        Reason.CERTIFICATE_REQUIRED,
        Reason.CERTIFICATE_EXPIRED,
        Reason.CERTIFICATE_REVOKED,
        Reason.CERTIFICATE_UNSUITABLE,
        Reason.MACHINE_UNKNOWN,
        Reason.GATEWAY_UNKNOWN,
        Reason.NOT_ASSOCIATED,
    }
)
_PRIVATE = frozenset({AddressClass.PRIVATE, AddressClass.SHARED, AddressClass.LOOPBACK})

PARTING = 1.0
"""Seconds that a target gets to end its direction after a check."""


class _Untried(Exception):
    """The rest of the way can't be tried without the machine's certificate."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Checks endpoints; `clock` gives the machine's own time, `limit` the seconds for one endpoint."""

    hops: Hops
    now: Surroundings
    clock: Callable[[], datetime]
    limit: float = 30
    lacks_certificate: bool = False
    """Whether the machine has a certificate that we may not read: gateways let us through to control hosts alone."""
    expects_private: bool = False
    """Whether addresses that are not private count as failures, where the endpoint can have private ones."""

    async def check(self, endpoint: Endpoint) -> Row:
        """Return the row of one endpoint; never raises for what the network does."""
        path = path_to(endpoint, self.now)
        trace = Trace()
        try:
            async with asyncio.timeout(self.limit):
                await self._walk(endpoint, path, trace)
        except _Untried:
            trace.add(Outcome.SKIPPED, Hop.GATEWAY, Hop.POLICY, Hop.TARGET)
        except TimeoutError:
            trace.fail(_too_slow(trace.at, endpoint, self.limit))
        except HopError as error:
            trace.fail(error)
        except ArcgateError as error:
            trace.fail(HopError(trace.at, error.code, error.sentence, cause=error.cause, remedy=error.remedy))
        return Row(
            endpoint,
            path.route.way,
            path.route.reason,
            tuple(trace.hops),
            any(classify(one) in _PRIVATE for one in trace.addresses) if trace.addresses else None,
            trace.tls,
            trace.proxy,
            path.gateway.name if path.gateway is not None else "",
            trace.inspected_by,
        )

    async def _walk(self, endpoint: Endpoint, path: Path, trace: Trace) -> None:
        if self.expects_private and endpoint.may_be_private:
            # Whoever resolves the name on the way: private endpoints are for machines that resolve it themselves.
            trace.addresses = await self.hops.addresses_of(endpoint.target)
            _require_private(endpoint.target, trace.addresses)
        async with AsyncExitStack() as opened:
            stream = await self._open(endpoint, path, trace, opened)
            if endpoint.is_gateway or not endpoint.uses_tls:
                return
            async with trace.hop(Hop.TARGET):
                inspection = "" if path.gateway is not None else self.now.inspection_ca
                context = self.hops.trust.servers(join_pem((self.now.ca_pem, inspection)))
                tls = await self._shake(stream, context, str(endpoint.target.host), endpoint, path)
                trace.tls = _version(tls)
                if is_issued_by(tls, inspection):
                    trace.inspected_by = _issuer(tls)
            await close_gently(tls, PARTING)  # or the gateway's audit would tell of a cut

    async def _open(self, endpoint: Endpoint, path: Path, trace: Trace, opened: AsyncExitStack) -> ByteStream:
        """Return a stream to the endpoint (for a gateway: to its front door, having heard its answer)."""
        if path.route.way is Way.REFUSE:
            trace.at = Hop.POLICY
            raise refused(endpoint.target, path.route)
        if path.gateway is None:
            return await self._reach(endpoint.target, path.proxy, trace, opened, is_endpoint=True)
        stream = await self._reach(path.gateway.dialled, path.proxy, trace, opened, is_endpoint=endpoint.is_gateway)
        async with trace.hop(Hop.TLS):
            certificate = self.now.certificate if path.with_certificate else None
            channel, is_inspected = await self._secure(stream, certificate, path.gateway, endpoint, path, opened)
            if is_inspected:
                trace.inspected_by = _issuer(channel)
            if endpoint.is_gateway:
                trace.tls = _version(channel)
        if endpoint.is_gateway:
            async with trace.hop(Hop.GATEWAY):
                judge(await hear(channel, path.gateway), channel, path.gateway, is_inspected=is_inspected)
            return channel
        if self.lacks_certificate and not self.now.is_control(endpoint.target):
            raise _Untried
        async with trace.hop(Hop.GATEWAY):
            signs = certificate if is_inspected else None
            carrier = (
                await upgrade(channel, path.gateway, signs, self.now.timeouts.answer)
                if is_inspected
                else Carrier(channel)
            )
            tunnel = await self._nested_connect(carrier, endpoint.target, path.gateway)
        trace.add(Outcome.PASSED, Hop.POLICY)
        return tunnel

    async def _secure(
        self,
        stream: ByteStream,
        certificate: CertificateFiles | None,
        gateway: GatewayPlace,
        endpoint: Endpoint,
        path: Path,
        opened: AsyncExitStack,
    ) -> tuple[TlsStream, bool]:
        """Return TLS towards a gateway, and whether somebody opens it whom an admin has trusted."""
        inspection = self.now.inspection_ca
        context = self.hops.trust.gateways(self.now.ca_pem, certificate)
        try:
            channel = await self._shake(stream, context, gateway.host, endpoint, path)
        except HopError as error:
            if error.code != "TLS_INTERCEPTED" or not inspection:
                raise
            again = await self._reach(gateway.dialled, path.proxy, Trace(), opened, is_endpoint=False)
            return await self._shake(again, self.hops.trust.inspected(inspection), gateway.host, endpoint, path), True
        return channel, is_issued_by(channel, inspection)

    async def _reach(
        self, target: Target, proxy: Url | None, trace: Trace, opened: AsyncExitStack, *, is_endpoint: bool
    ) -> ByteStream:
        trace.at = Hop.PROXY
        if proxy is not None and (chosen := await self._chosen(proxy, target)) is not None:
            trace.proxy = chosen.origin
            async with trace.hop(Hop.PROXY):
                with _blaming_authentication():
                    tunnel = await self.hops.by_proxy(proxy, target, self.now)
                opened.push_async_callback(tunnel.close)
            if chosen.user:
                trace.add(Outcome.PASSED, Hop.PROXY_AUTHENTICATION)
            return tunnel
        async with trace.hop(Hop.DNS):
            addresses = await self.hops.addresses_of(target)
        if is_endpoint:
            trace.addresses = addresses
        async with trace.hop(Hop.TCP):
            direct = await dial(addresses, target.port, self.now.timeouts.dial)
        opened.push_async_callback(direct.close)
        return direct

    async def _chosen(self, proxy: Url, target: Target) -> Url | None:
        """Return the first proxy on the way to the target, None where a PAC file wants a direct connection."""
        if self.now.automatic is None:
            return proxy
        return (await self.now.automatic.choices(target, self.hops.resolver))[0]

    async def _nested_connect(self, carrier: Carrier, target: Target, gateway: GatewayPlace) -> ByteStream:
        channel, correlation_id = carrier.stream, new_correlation_id()
        fields: Fields = ((CORRELATION_FIELD, correlation_id),)
        if carrier.is_signed:
            fields = (*fields, (FRAMES_FIELD, FRAMES_VERSION))
        if carrier.signer is not None:
            fields = (*fields, *carrier.signer.proof(target, correlation_id))
        try:
            limit = self.now.timeouts.answer
            tunnel, _ = await connect_through(channel, target, limit, hop=Hop.GATEWAY, via=gateway.name, fields=fields)
        except HopError as error:
            if error.code == "GATEWAY_FAILED" and (alert := await last_words(channel)):
                error.cause = alert
            if isinstance(error, ConnectRefused) and error.refusal.code in _WHO_ASKS:
                error.hop = Hop.GATEWAY
            raise explain(error, gateway) from None
        if not carrier.is_signed:
            return tunnel
        rest = tunnel.take_prefix() if isinstance(tunnel, PrefixedStream) else b""
        return ChannelTunnel(channel, rest, may_hand_over=False)

    async def _shake(
        self, stream: ByteStream, context: ssl.SSLContext, name: str, endpoint: Endpoint, path: Path
    ) -> TlsStream:
        """Return a TLS stream; a failure is explained with the certificate that was presented."""
        tls = TlsStream(stream, context, server_side=False, server_hostname=name)
        try:
            async with asyncio.timeout(self.now.timeouts.handshake):
                await tls.handshake()
        except TimeoutError:
            raise _handshake_failed(name, f"nothing came in {self.now.timeouts.handshake:g} s") from None
        except StreamReset as error:
            raise _handshake_failed(name, str(error)) from None
        except ssl.SSLError as error:
            is_gateway = path.gateway is not None and name == path.gateway.host
            presented = None
            if isinstance(error, ssl.SSLCertVerificationError):
                presented = await self._presented(endpoint, path, is_gateway=is_gateway)
            failure = diagnose(error, name, presented, self.clock())
            assert path.gateway is not None or not is_gateway
            raise (explain(failure, path.gateway) if is_gateway and path.gateway else failure) from None
        return tls

    async def _presented(self, endpoint: Endpoint, path: Path, *, is_gateway: bool) -> bytes | None:
        """Return the certificate that a server shows, unverified: only to name its issuer. Nothing is sent to it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with contextlib.suppress(ArcgateError, ssl.SSLError, StreamReset):
            async with AsyncExitStack() as opened:
                if is_gateway and path.gateway is not None:
                    place, name = path.gateway.dialled, str(path.gateway.host)
                    stream = await self._reach(place, path.proxy, Trace(), opened, is_endpoint=False)
                else:
                    name = str(endpoint.target.host)
                    stream = await self._open(endpoint, path, Trace(), opened)
                tls = TlsStream(stream, context, server_side=False, server_hostname=name)
                await tls.handshake()
                return tls.tls.getpeercert(binary_form=True)
        return None


@contextlib.contextmanager
def _blaming_authentication() -> Iterator[None]:
    """Name the proxy's authentication as the hop when the proxy asks for it (RFC 9110 section 15.5.8)."""
    try:
        yield
    except HopError as error:
        if error.code in NOT_AUTHENTICATED:
            error.hop = Hop.PROXY_AUTHENTICATION
        raise


def _issuer(tls: TlsStream) -> str:
    certificate = parse(tls.tls.getpeercert(binary_form=True))
    return describe(certificate).issuer if certificate is not None else ""


def _version(tls: TlsStream) -> str:
    version = tls.tls.version() or ""
    return version.replace("TLSv", "TLS ")


def _handshake_failed(name: str, cause: str) -> HopError:
    return HopError(
        Hop.TLS,
        "TLS_FAILED",
        f"{name} did not complete the TLS handshake.",
        cause=cause,
        remedy="Look for a firewall or proxy on the path that inspects or drops TLS.",
    )


def _require_private(target: Target, addresses: list[Address]) -> None:
    if public := [one for one in addresses if classify(one) not in _PRIVATE]:
        raise HopError(
            Hop.DNS,
            "ADDRESS_NOT_PRIVATE",
            f"{target.host} has the address {public[0]}, which is not private.",
            remedy="Let this machine's DNS answer with the private endpoint's address, or omit --enable-pls-check.",
        )


def _too_slow(hop: Hop, endpoint: Endpoint, limit: float) -> HopError:
    return HopError(
        hop,
        "CHECK_TIMEOUT",
        f"{endpoint.name} was not reached in {limit:g} s.",
        cause=f"the last hop that was tried is {hop}",
        remedy="Look for what holds packets back on this hop; the setting check.timeout gives more time.",
    )
