"""The first hops of an outgoing connection: name, address, enterprise proxy. Gateways are `agent.channels`' part."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from arcgate.agent.surroundings import Surroundings
from arcgate.agent.trust import Trust
from arcgate.core.addresses import NEVER_A_TARGET, AddressClass, classify
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address, Target
from arcgate.core.urls import Url
from arcgate.net.dialer import CertificateRefused, dial, start_tls
from arcgate.net.enterprise_proxies import NOT_WORKING, EnterpriseProxies, ReadyProxy
from arcgate.net.resolver import Resolver
from arcgate.net.streams import ByteStream, SocketStream


@dataclass(frozen=True, slots=True)
class Hops:
    """Opens connections to hosts, directly or by an enterprise proxy; `trust` makes the TLS contexts."""

    resolver: Resolver
    trust: Trust
    proxies: EnterpriseProxies = field(default_factory=EnterpriseProxies)

    async def addresses_of(self, target: Target) -> list[Address]:
        """Return the addresses of the target's host; raises HopError (DNS)."""
        return [target.host] if not isinstance(target.host, str) else await self.resolver.resolve(target.host)

    async def dial(self, target: Target, surroundings: Surroundings) -> SocketStream:
        """Return a TCP connection to the host; raises HopError (DNS or TCP)."""
        return await dial(await self.addresses_of(target), target.port, surroundings.timeouts.dial)

    async def dial_target(self, target: Target, surroundings: Surroundings) -> SocketStream:
        """Return a TCP connection to what a client asked for, which must be no place that nobody serves from.

        Raises HopError (DNS, TCP or POLICY).
        """
        addresses = [one for one in await self.addresses_of(target) if not _is_forbidden(one, target, surroundings)]
        if not addresses:
            raise HopError(
                Hop.POLICY,
                "ADDRESS_NOT_ALLOWED",
                f"The address of {target.host} is Arc Proxy's own, a metadata service's or a link-local one.",
                remedy="Connect to it without the proxy: add its name to the client's no_proxy.",
            )
        return await dial(addresses, target.port, surroundings.timeouts.dial)

    async def dial_proxy(self, proxy: Url, surroundings: Surroundings) -> SocketStream:
        """Return a TCP connection to the enterprise proxy; raises HopError (PROXY)."""
        try:
            return await self.dial(proxy.target, surroundings)
        except HopError as error:
            if error.code == "NO_DESCRIPTORS":
                raise  # another proxy would help as little
            raise HopError(
                Hop.PROXY,
                "PROXY_UNREACHABLE",
                f"The enterprise proxy {proxy.origin} can't be reached.",
                cause=" ".join(part for part in (error.sentence, error.cause) if part),
                remedy="Check proxy.url ('azcmagent config get proxy.url'), and that the proxy is running.",
            ) from None

    async def open_proxy(self, proxy: Url, surroundings: Surroundings) -> ByteStream:
        """Return a connection to the enterprise proxy, with TLS to an https one; raises HopError (PROXY)."""
        stream = await self.dial_proxy(proxy, surroundings)
        if not proxy.is_tls:
            return stream
        context = self.trust.servers(surroundings.ca_pem)
        try:
            return await start_tls(
                stream, context, str(proxy.target.host), surroundings.timeouts.handshake, hop=Hop.PROXY
            )
        except BaseException as error:
            await stream.close()
            if isinstance(error, CertificateRefused):
                error.remedy = _TRUST_PROXY
            raise

    async def by_proxy(self, proxy: Url, target: Target, surroundings: Surroundings) -> ByteStream:
        """Return a tunnel to the target through the enterprise proxy, or another one that is set for when it fails.

        A PAC file may say that there is no proxy on the way. Raises HopError or StateError (PAC_UNUSABLE).
        """

        async def tunnel(one: Url) -> ByteStream:
            limit, access = surroundings.timeouts.answer, surroundings.proxy_access
            return await self.proxies.tunnel(one, lambda: self.open_proxy(one, surroundings), target, limit, access)

        return await self._by_choice(proxy, target, surroundings, tunnel)

    async def ready_proxy(
        self, proxy: Url, uri: bytes, target: Target, surroundings: Surroundings
    ) -> tuple[ByteStream, ReadyProxy | None]:
        """Return a connection for a request in absolute form, and the proxy behind it with what it needs.

        The proxy is None when a PAC file wants a direct connection. Raises HopError or StateError (PAC_UNUSABLE).
        """
        found: list[ReadyProxy] = []

        async def ready(one: Url) -> ByteStream:
            limit, access = surroundings.timeouts.answer, surroundings.proxy_access
            ready = await self.proxies.ready_for(
                one, lambda: self.open_proxy(one, surroundings), uri, target, limit, access
            )
            found.append(ready)
            return ready.stream

        stream = await self._by_choice(proxy, target, surroundings, ready)
        return stream, found[-1] if found else None

    async def _by_choice(
        self, proxy: Url, target: Target, surroundings: Surroundings, take: Callable[[Url], Awaitable[ByteStream]]
    ) -> ByteStream:
        """Return what `take` makes of the first proxy that works, or a direct connection where a PAC file says so."""
        choices: tuple[Url | None, ...] = (proxy, *surroundings.further_proxies)
        if surroundings.automatic is not None:
            choices = await surroundings.automatic.choices(target, self.resolver)
        is_last_direct = None in choices
        proxies = [one for one in (choices[: choices.index(None)] if is_last_direct else choices) if one is not None]
        try:
            if proxies:
                return await self.proxies.first_working(proxies, take)
        except HopError as error:
            if not is_last_direct or error.code not in NOT_WORKING:
                raise
        return await self.dial_target(target, surroundings)

    async def towards(self, target: Target, surroundings: Surroundings) -> ByteStream:
        """Return a connection to a gateway's front door, by the enterprise proxy when there is one."""
        proxy = surroundings.proxy_towards(target)
        if proxy is not None:
            return await self.by_proxy(proxy, target, surroundings)
        return await self.dial(target, surroundings)


_TRUST_PROXY = (
    "Check that proxy.url has the name in the proxy's certificate. If its authority is private, put it into the "
    "system's trust store (update-ca-certificates, update-ca-trust) and restart the services."
)


def _is_forbidden(address: Address, target: Target, surroundings: Surroundings) -> bool:
    kind = classify(address)
    # A name of ours that leads back to Arc Proxy would make a loop that only descriptors end.
    is_loop = kind is AddressClass.LOOPBACK and target.port in surroundings.routing.own_ports
    return is_loop or kind in NEVER_A_TARGET
