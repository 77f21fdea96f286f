"""DNS: a name is resolved once per tunnel, and whoever asked decides about every address that came back."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.names import Address, HostName
from arcgate.net.tasks import cancel

MOST_ADDRESSES = 16
"""Addresses of one answer that we look at."""

SECOND_FAMILY = 0.25
"""Seconds that one family's answer is waited for when the other's has come: many servers drop one of the questions."""

_SERVER = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F.:]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[1-9][0-9]{0,4}))?\Z|(?P<bare>[0-9a-fA-F.:]+)\Z"
)


class Resolver(Protocol):
    """Turns names into addresses."""

    async def resolve(self, host: HostName) -> list[Address]:
        """Return the addresses in order of preference, at least one; raises HopError (DNS)."""
        ...


class SystemResolver:
    """Asks the given DNS servers, or the system's; fixed hosts and the hosts file come first."""

    def __init__(
        self,
        *,
        servers: Iterable[str] = (),
        hosts: Mapping[str, str] | None = None,
        timeout: float = 5,
        hosts_file: Path = Path("/etc/hosts"),
    ) -> None:
        self._timeout = timeout
        self._hosts = {name.lower(): [ip_address(address)] for name, address in (hosts or {}).items()}
        self._hosts_file = hosts_file
        self._servers = [_parse_server(server) for server in servers]

    async def resolve(self, host: HostName) -> list[Address]:
        """See Resolver."""
        fixed = self._hosts.get(host) or _look_up_file(self._hosts_file, host)
        if fixed:
            return list(fixed)
        return await self._ask(host)

    async def _ask(self, host: HostName) -> list[Address]:
        resolver = self._make_resolver()
        loop = asyncio.get_running_loop()
        questions = [
            loop.create_task(self._query(resolver, host, kind), name=f"{kind} of {host}") for kind in ("AAAA", "A")
        ]
        try:
            await _answers(questions)
        finally:
            await cancel(*questions)
        answered = [question for question in questions if not question.cancelled()]
        addresses = [one for question in answered if question.exception() is None for one in question.result()]
        if addresses:
            return _interleave(addresses)[:MOST_ADDRESSES]
        # When one family's question failed and the other is merely empty, the failure is the news.
        failures = [error for question in answered if (error := question.exception()) is not None]
        serious = [error for error in failures if not isinstance(error, dns.resolver.NoAnswer)]
        raise _failure(host, (serious or failures)[0])

    def _make_resolver(self) -> dns.asyncresolver.Resolver:
        # Made anew for each name: the system's servers change under us (DHCP, VPN), and reading them is cheap.
        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        except dns.resolver.NoResolverConfiguration as error:
            raise HopError(Hop.DNS, "DNS_FAILED", "No DNS server is configured.", cause=str(error)) from None
        if self._servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in self._servers]
        resolver.lifetime = self._timeout
        resolver.timeout = max(self._timeout / 3, 0.5)
        return resolver

    async def _query(self, resolver: dns.asyncresolver.Resolver, host: HostName, kind: str) -> list[Address]:
        answer = await resolver.resolve(f"{host}.", kind, search=False)
        return [ip_address(record.to_text()) for record in answer]


async def _answers(questions: list[asyncio.Task[list[Address]]]) -> None:
    """Wait for both families, but only a little longer once one of them has given addresses."""
    done, pending = await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        has_addresses = any(question.exception() is None for question in done)
        await asyncio.wait(pending, timeout=SECOND_FAMILY if has_addresses else None)


def _failure(host: HostName, error: BaseException) -> HopError:
    if isinstance(error, dns.resolver.NXDOMAIN):
        cause = "the name does not exist"
    elif isinstance(error, dns.resolver.NoAnswer):
        cause = "the name has no address"
    elif isinstance(error, dns.exception.Timeout):
        cause = "the DNS servers did not answer in time"
    else:
        cause = " ".join(str(error).split())[:200]
    return HopError(
        Hop.DNS,
        "DNS_FAILED",
        f"{host} could not be resolved.",
        cause=cause,
        remedy="Check the name and the DNS servers of this host.",
    )


def _interleave(addresses: list[Address]) -> list[Address]:
    """Order addresses as Happy Eyeballs does: families in turn, IPv6 first (RFC 8305 section 4)."""
    six = [address for address in addresses if isinstance(address, IPv6Address)]
    four = [address for address in addresses if isinstance(address, IPv4Address)]
    paired = [address for pair in zip(six, four, strict=False) for address in pair]
    rest = six[len(four) :] or four[len(six) :]
    return [*paired, *rest]


def _look_up_file(path: Path, host: str) -> list[Address]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Address] = []
    for line in lines:
        fields = line.partition("#")[0].split()
        if len(fields) > 1 and host in (name.lower() for name in fields[1:]):
            try:
                found.append(ip_address(fields[0].partition("%")[0]))
            except ValueError:
                continue
    return found


def _parse_server(text: str) -> tuple[str, int]:
    match = _SERVER.match(text)
    try:
        if match is None or (port := int(match["port"] or 53)) > 65535:
            raise ValueError("not ADDRESS or ADDRESS:PORT")
        return str(ip_address(match["six"] or match["four"] or match["bare"])), port
    except ValueError:
        raise InputError(
            "DNS_SERVER_INVALID", f"{text!r} is not a DNS server.", remedy="Write ADDRESS or ADDRESS:PORT."
        ) from None
