"""Tunnels through enterprise proxies: authentication as each one wants it, and what was learned about them.

What is remembered makes later connections cheap: the scheme that a proxy took, and which proxies did not work lately.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target
from arcgate.core.urls import Url
from arcgate.net.dialer import ConnectAnswer, ConnectRefused, ask, refused_connect
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.net.streams import ByteStream, PrefixedStream
from arcgate.wire.connect import format_connect
from arcgate.wire.heads import Fields, format_fields
from arcgate.wire.proxy_authentication import Authentication, AuthenticationFailed, Scheme

SET_ASIDE = 300.0
"""Seconds that a proxy which did not work comes after the others."""

Open = Callable[[], Awaitable[ByteStream]]
"""Connects to the proxy (with TLS, for https proxies); raises HopError."""

NOT_WORKING = frozenset({"PROXY_UNREACHABLE", "PROXY_FAILED", "TLS_TIMEOUT", "TLS_FAILED", "TLS_CERTIFICATE_REFUSED"})
"""Codes of errors that say nothing about the request, only about the proxy."""


@dataclass(slots=True)
class EnterpriseProxies:
    """Opens tunnels through proxies; one for each process. `clock` gives seconds that only grow."""

    clock: Callable[[], float] = time.monotonic
    _schemes: dict[tuple[str, str], Scheme | None] = field(default_factory=dict)
    """What each proxy took from each user; None: it asked for nothing."""
    _failed: dict[str, float] = field(default_factory=dict)

    def in_order(self, proxies: Iterable[Url]) -> list[Url]:
        """Return the proxies as they are to be tried: in the given order, those that failed lately last."""
        now = self.clock()
        return sorted(proxies, key=lambda proxy: now - self._failed.get(proxy.origin, -SET_ASIDE) < SET_ASIDE)

    async def first_working(self, proxies: Iterable[Url], take: Callable[[Url], Awaitable[ByteStream]]) -> ByteStream:
        """Return what `take` makes of the first proxy that works; raises the HopError of the last one.

        A proxy that answers, be it a refusal, works.
        """
        failures: list[HopError] = []
        for proxy in self.in_order(proxies):
            try:
                stream = await take(proxy)
            except HopError as error:
                if error.hop is not Hop.PROXY or error.code not in NOT_WORKING:
                    self._failed.pop(proxy.origin, None)
                    raise
                self._failed[proxy.origin] = self.clock()
                failures.append(error)
            else:
                self._failed.pop(proxy.origin, None)
                return stream
        raise _all_failed(failures)

    async def tunnel(
        self, proxy: Url, open_proxy: Open, target: Target, limit: float, access: ProxyAccess
    ) -> ByteStream:
        """Return a tunnel to the target; raises HopError (PROXY) or ConnectRefused. `limit` bounds each answer."""
        async with self._talk(proxy, open_proxy, limit, access) as talk:
            fields = await talk.first()
            while (answer := await talk.ask(format_connect(target, fields), f"CONNECT {target}")).status == 407:
                fields = await talk.next(answer)
            if not answer.is_success:
                raise refused_connect(Hop.PROXY, proxy.origin, target, answer)
            self._schemes[_key(proxy)] = talk.scheme
            stream = talk.take()
            return PrefixedStream(answer.body, stream) if answer.body else stream

    async def ready_for(
        self, proxy: Url, open_proxy: Open, uri: bytes, target: Target, limit: float, access: ProxyAccess
    ) -> tuple[ByteStream, Fields]:
        """Return a connection to the proxy, and the fields that a request for the URI on it must hold.

        A request may have a body, which can't be sent twice: a HEAD finds out what the proxy wants before it.
        Raises HopError (PROXY).
        """
        async with self._talk(proxy, open_proxy, limit, access) as talk:
            is_known = _key(proxy) in self._schemes or not access.mechanisms(proxy)
            fields = await talk.first() if is_known else ()
            while not (is_known and talk.is_complete):
                is_known = True
                answer = await talk.ask(_head_request(uri, target, fields), f"HEAD {target}", has_body=False)
                if answer.status != 407:
                    await talk.drop()
                    fields = ()
                    break
                fields = await talk.next(answer)
            self._schemes[_key(proxy)] = talk.scheme
            await talk.connect()
            return talk.take(), fields

    def forget(self, proxy: Url) -> None:
        """Forget how the proxy wants to be asked: it has refused what was remembered."""
        self._schemes.pop(_key(proxy), None)

    def _talk(self, proxy: Url, open_proxy: Open, limit: float, access: ProxyAccess) -> "_Talk":
        mechanisms = access.mechanisms(proxy)
        remembered = self._schemes.get(_key(proxy))
        return _Talk(proxy, open_proxy, limit, access, Authentication(mechanisms, remembered))


@dataclass(slots=True)
class _Talk:
    """One talk with a proxy, on one connection or several; closes what nobody has taken at its end."""

    _proxy: Url
    _open: Open
    _limit: float
    _access: ProxyAccess
    _authentication: Authentication
    _stream: ByteStream | None = None

    @property
    def scheme(self) -> Scheme | None:
        return self._authentication.scheme

    @property
    def is_complete(self) -> bool:
        return self._authentication.is_complete

    async def __aenter__(self) -> "_Talk":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()

    async def first(self) -> Fields:
        # Kerberos may wait for its servers.
        return await asyncio.to_thread(self._authentication.first)

    async def ask(self, request: bytes, what: str, *, has_body: bool = True) -> ConnectAnswer:
        """Send a request and return the answer, on a fresh connection when there is none."""
        stream = await self.connect()
        return await ask(stream, request, self._limit, Hop.PROXY, self._proxy.origin, what, has_body=has_body)

    async def next(self, refusal: ConnectAnswer) -> Fields:
        """Return the fields of the request after a 407; raises ConnectRefused."""
        try:
            fields = await asyncio.to_thread(self._authentication.next, refusal.head)
        except AuthenticationFailed as failure:
            raise not_authenticated(self._proxy, self._access, failure, refusal) from None
        if not self._authentication.is_bound:
            await self.drop()  # many proxies close it anyhow, and some without saying so
        elif not refusal.keeps_connection:
            raise _closed_in_between(self._proxy, refusal)
        return fields

    async def connect(self) -> ByteStream:
        if self._stream is None:
            self._stream = await self._open()
        return self._stream

    async def drop(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.close()

    def take(self) -> ByteStream:
        """Hand the connection over."""
        stream, self._stream = self._stream, None
        assert stream is not None
        return stream


def _key(proxy: Url) -> tuple[str, str]:
    return proxy.origin, proxy.user


def _head_request(uri: bytes, target: Target, fields: Fields) -> bytes:
    host = target.authority.removesuffix(":80")
    return b"HEAD " + uri + b" HTTP/1.1\r\n" + format_fields((("Host", host), *fields)) + b"\r\n"


def _all_failed(failures: list[HopError]) -> HopError:
    if len(failures) == 1:
        return failures[0]
    return HopError(
        Hop.PROXY,
        failures[-1].code,
        f"None of the {len(failures)} enterprise proxies works.",
        cause=" ".join(f"{error.sentence} {error.cause}".strip() for error in failures),
        remedy=failures[0].remedy,
    )


def _closed_in_between(proxy: Url, refusal: ConnectAnswer) -> ConnectRefused:
    return ConnectRefused(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"{proxy.origin} closes the connection in the middle of the authentication.",
        refusal.refusal,
        remedy="Let the proxy keep connections while NTLM or Negotiate goes on, or allow Basic there.",
    )


def not_authenticated(
    proxy: Url, access: ProxyAccess, failure: AuthenticationFailed, answer: ConnectAnswer
) -> ConnectRefused:
    """Return the error of a proxy that wants authentication which did not work; pure."""
    titles = ", ".join(Scheme(one).spelled if one in set(Scheme) else one for one in failure.offered)
    tried = "; ".join(f"{one.scheme.spelled}: {one.cause or 'the proxy refused it'}" for one in failure.tried)
    return ConnectRefused(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"{proxy.origin} answered 407: it wants authentication ({titles or 'it names no scheme'}).",
        answer.refusal,
        cause=tried,
        remedy=_remedy(proxy, access, failure),
    )


def _remedy(proxy: Url, access: ProxyAccess, failure: AuthenticationFailed) -> str:
    offered = {Scheme(one) for one in failure.offered if one in set(Scheme)}
    if not offered:
        return "Let the proxy offer Negotiate, NTLM or Basic, or exempt this machine there."
    if not offered & set(access.schemes):
        return "Add one of its schemes to the setting proxy.authentication."
    if any(one.was_refused for one in failure.tried):
        return "Check the user and password of the setting proxy.credentials, and the user's rights on the proxy."
    if offered & {Scheme.NTLM, Scheme.BASIC} and not proxy.user:
        return "Give it user and password, in a file: 'azcmagent config set proxy.credentials FILE'."
    return next((one.remedy for one in failure.tried if one.remedy), "Look into the log of the proxy.")
