"""DNS: a name is resolved once per tunnel, and whoever asked decides about every address that came back.

`SystemResolver` asks each time; `arcgate.net.caching_resolver` remembers.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver
import structlog

from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.name_servers import NameServer, NameServers
from arcgate.core.names import Address, HostName
from arcgate.net.hosts_file import HostsFile
from arcgate.net.tasks import cancel

MOST_ADDRESSES = 16
"""Addresses of one answer that we look at."""

SECOND_FAMILY = 0.25
"""Seconds that one family's answer is waited for when the other's has come: many servers drop one of the questions."""

NEXT_SERVER = 0.5
"""Seconds that a server gets before the next one is asked as well."""

FAILURE_LIFE = 1.0
"""Seconds that a failure other than 'there is no such name' may be believed (RFC 9520 section 3.2)."""

HALF_LIFE = 5.0
"""Seconds that addresses of one family may be believed when the other family's question was not answered."""

_log = structlog.get_logger(__name__)

_SERVER = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F.:]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[1-9][0-9]{0,4}))?\Z|(?P<bare>[0-9a-fA-F.:]+)\Z"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses of a name, in order of preference, and the seconds that they may be believed."""

    addresses: tuple[Address, ...]
    ttl: float


class NotResolved(HopError):
    """A name has no addresses that we know of; to be believed for `ttl` seconds. `is_definite`: DNS said so."""

    def __init__(self, host: HostName, cause: str, ttl: float, *, is_definite: bool) -> None:
        super().__init__(
            Hop.DNS,
            "DNS_FAILED",
            f"{host} could not be resolved.",
            cause=cause,
            remedy="Check the name and the DNS servers of this host.",
        )
        self.ttl = ttl
        self.is_definite = is_definite


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
        self._hosts_file = HostsFile(hosts_file)
        self._servers = [_parse_server(server) for server in servers]
        self._standing = NameServers()

    async def resolve(self, host: HostName) -> list[Address]:
        """See Resolver."""
        return self.fixed(host) or list((await self.find(host)).addresses)

    def fixed(self, host: HostName) -> list[Address]:
        """Return the addresses that need no DNS, none when there are none."""
        return list(self._hosts.get(host) or self._hosts_file.look_up(host))

    async def find(self, host: HostName) -> Found:
        """Return what DNS says of a name; raises NotResolved, or HopError when there is nobody to ask."""
        servers = self._servers or _system_servers()
        loop = asyncio.get_running_loop()
        questions = [
            loop.create_task(self._query(servers, host, kind), name=f"{kind} of {host}") for kind in ("AAAA", "A")
        ]
        try:
            await _answers(questions)
        finally:
            await cancel(*questions)
        return _combine(host, questions)

    async def _query(self, servers: Sequence[NameServer], host: HostName, kind: str) -> dns.resolver.Answer:
        """Ask one server after the other, each next one when there is no answer yet; the first answer counts."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        waiting = self._standing.order(servers, loop.time())
        asked: dict[asyncio.Task[dns.resolver.Answer], NameServer] = {}
        failure: BaseException = TimeoutError("there is no DNS server")
        try:
            pending: set[asyncio.Task[dns.resolver.Answer]] = set()
            while waiting or pending:
                if waiting:
                    task = loop.create_task(_ask(waiting[0], host, kind, end - loop.time()), name=f"ask {waiting[0]}")
                    asked[task] = waiting.pop(0)
                    pending.add(task)
                done, pending = await asyncio.wait(
                    pending, timeout=NEXT_SERVER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    error = one.exception()
                    if error is None or isinstance(error, dns.resolver.NXDOMAIN):
                        self._note(asked.pop(one), asked.values(), loop.time())
                        return one.result()
                    failure = error
        finally:
            await cancel(*asked)
        raise failure

    def _note(self, best: NameServer, others: Iterable[NameServer], now: float) -> None:
        self._standing.answered(best)
        for server in others:
            if self._standing.lost(server, now):
                _log.warning("a DNS server did not answer in time and comes last for a while", server=server[0])


async def _ask(server: NameServer, host: HostName, kind: str, timeout: float) -> dns.resolver.Answer:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(*server)]
    resolver.lifetime = max(timeout, 0.01)
    resolver.timeout = max(timeout / 3, 0.5)
    return await resolver.resolve(f"{host}.", kind, search=False, raise_on_no_answer=False)


def _system_servers() -> list[NameServer]:
    """Return the system's servers, read anew for each name: they change under us (DHCP, VPN), and that is cheap."""
    try:
        resolver = dns.resolver.Resolver(configure=True)
    except dns.resolver.NoResolverConfiguration as error:
        raise HopError(Hop.DNS, "DNS_FAILED", "No DNS server is configured.", cause=str(error)) from None
    return [(str(server), resolver.port) for server in resolver.nameservers]


async def _answers(questions: Sequence["asyncio.Task[dns.resolver.Answer]"]) -> None:
    """Wait for both families, but only a little longer once one of them has given addresses."""
    done, pending = await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        has_addresses = any(question.exception() is None and question.result().rrset for question in done)
        await asyncio.wait(pending, timeout=SECOND_FAMILY if has_addresses else None)


def _combine(host: HostName, questions: Sequence["asyncio.Task[dns.resolver.Answer]"]) -> Found:
    """Return what both families' questions have given together; raises NotResolved."""
    answered = [question for question in questions if not question.cancelled()]
    answers = [question.result() for question in answered if question.exception() is None]
    addresses = [ip_address(record.to_text()) for answer in answers for record in answer.rrset or ()]
    lives = [life for answer in answers if (life := _life(answer.response)) is not None]
    if addresses:
        ttl = min(lives) if len(answers) == len(questions) else min(*lives, HALF_LIFE)
        return Found(tuple(_interleave(addresses)[:MOST_ADDRESSES]), ttl)
    # When one family's question failed and the other is merely empty, the failure is the news.
    failures = [error for question in answered if (error := question.exception()) is not None]
    if failures:
        raise _failure(host, failures[0])
    raise NotResolved(host, "the name has no address", min(lives, default=0), is_definite=True)


def _failure(host: HostName, error: BaseException) -> NotResolved:
    if isinstance(error, dns.resolver.NXDOMAIN):
        lives = [_life(response) for response in error.kwargs["responses"].values()]
        ttl = min((life for life in lives if life is not None), default=0)
        return NotResolved(host, "the name does not exist", ttl, is_definite=True)
    if isinstance(error, dns.exception.Timeout):
        cause = "the DNS servers did not answer in time"
    else:
        cause = " ".join(str(error).split())[:200]
    return NotResolved(host, cause, FAILURE_LIFE, is_definite=False)


def _life(response: dns.message.QueryMessage) -> float | None:
    """Return the seconds that an answer may be believed, None when an empty one does not say (RFC 2308 section 5)."""
    chain = response.resolve_chaining()
    says_so = chain.answer is not None or any(one.rdtype == dns.rdatatype.SOA for one in response.authority)
    return chain.minimum_ttl if says_so else None


def _interleave(addresses: list[Address]) -> list[Address]:
    """Order addresses as Happy Eyeballs does: families in turn, IPv6 first (RFC 8305 section 4)."""
    six = [address for address in addresses if isinstance(address, IPv6Address)]
    four = [address for address in addresses if isinstance(address, IPv4Address)]
    paired = [address for pair in zip(six, four, strict=False) for address in pair]
    rest = six[len(four) :] or four[len(six) :]
    return [*paired, *rest]


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
