"""How the operator's command reaches the control plane: a fixed address, an enterprise proxy, or DNS."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.names import Address, Target, parse_target
from arcgate.core.proxy_exemptions import is_exempt
from arcgate.core.urls import Url, parse_url
from arcgate.net.dialer import dial, start_tls
from arcgate.net.enterprise_proxies import EnterpriseProxies
from arcgate.net.http_client import HttpClient
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.net.resolver import Resolver, SystemResolver
from arcgate.net.streams import ByteStream
from arcgate.net.tls import client_context

DIAL_TIMEOUT = 10.0
"""Seconds for a connection to be accepted, and for a proxy to answer."""


@dataclass(frozen=True)
class Outbound:
    """Opens streams to targets. `address` is dialled instead of any target; otherwise the environment decides."""

    address: Target | None = None
    ca_pem: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    resolver: Resolver = field(default_factory=SystemResolver)
    proxies: EnterpriseProxies = field(default_factory=EnterpriseProxies)

    async def open_stream(self, target: Target) -> ByteStream:
        """Return a stream to the target; raises HopError or InputError (a malformed proxy variable)."""
        if self.address is not None:
            return await self._dial(self.address)
        proxy = proxy_for(target, self.environment)
        return await self._dial(target) if proxy is None else await self._through(proxy, target)

    async def other_addresses(self, target: Target, tried: str) -> list[Address]:
        """Return the target's addresses beside one; none where a fixed address or a proxy finds the way.

        Raises HopError or InputError.
        """
        is_found_for_us = self.address is not None or proxy_for(target, self.environment) is not None
        return [] if is_found_for_us else [one for one in await self._addresses(target) if str(one) != tried]

    async def _dial(self, target: Target) -> ByteStream:
        return await dial(await self._addresses(target), target.port, DIAL_TIMEOUT)

    async def _addresses(self, target: Target) -> list[Address]:
        return [target.host] if not isinstance(target.host, str) else await self.resolver.resolve(target.host)

    async def _through(self, proxy: Url, target: Target) -> ByteStream:
        return await self.proxies.tunnel(proxy, lambda: self._dial_proxy(proxy), target, DIAL_TIMEOUT, ProxyAccess())

    async def _dial_proxy(self, proxy: Url) -> ByteStream:
        try:
            opened = await self._dial(proxy.target)
        except HopError as error:
            raise HopError(
                Hop.PROXY,
                error.code,
                f"The proxy {proxy.origin} of HTTPS_PROXY can't be reached.",
                cause=error.sentence.rstrip("."),
                remedy="Correct HTTPS_PROXY, or exempt this endpoint with NO_PROXY.",
            ) from None
        if not proxy.is_tls:
            return opened
        context = client_context(ca_pem=self.ca_pem)
        try:
            return await start_tls(opened, context, str(proxy.target.host), DIAL_TIMEOUT, hop=Hop.PROXY)
        except BaseException:
            await opened.close()
            raise


def make_client(address: str, ca_pem: str) -> HttpClient:
    """Return an HTTP client for a profile's address and authorities; raises InputError or StateError."""
    outbound = Outbound(parse_target(address) if address else None, ca_pem)
    return HttpClient(outbound.open_stream, client_context(ca_pem=ca_pem), "arcgate-cli")


def proxy_for(target: Target, environment: Mapping[str, str]) -> Url | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY want for a target, None for a direct connection."""
    text = environment.get("https_proxy") or environment.get("HTTPS_PROXY") or ""
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not text or is_exempt(target, exempt):
        return None
    try:
        return parse_url(text if "://" in text else f"http://{text}")
    except InputError as error:
        raise InputError(error.code, f"HTTPS_PROXY: {error.sentence}", cause=error.cause, remedy=error.remedy) from None
