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
from arcgate.net.credential_turns import Credentials, CredentialsPaused, CredentialTurns, Turn
from arcgate.net.dialer import ConnectAnswer, ConnectRefused, ask, refused_connect
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.net.proxy_refusals import (
    NOT_AUTHENTICATED,
    all_failed,
    asks_again,
    closed_in_between,
    not_authenticated,
    paused,
    silent_kerberos,
)
from arcgate.net.streams import ByteStream, PrefixedStream
from arcgate.wire.connect import format_connect
from arcgate.wire.heads import Fields, ResponseHead, format_fields
from arcgate.wire.proxy_authentication import Attempt, Authentication, AuthenticationFailed, Scheme

SET_ASIDE = 300.0
"""Seconds that a proxy which did not work comes after the others."""

Open = Callable[[], Awaitable[ByteStream]]
"""Connects to the proxy (with TLS, for https proxies); raises HopError."""

NOT_WORKING = frozenset({"PROXY_UNREACHABLE", "PROXY_FAILED", "TLS_TIMEOUT", "TLS_FAILED", "TLS_CERTIFICATE_REFUSED"})
"""Codes of errors that say nothing about the request, only about the proxy."""


@dataclass(frozen=True, slots=True)
class ReadyProxy:
    """A connection for one request in absolute form: the fields that it needs, and what becomes of a 407 to it."""

    proxy: Url
    stream: ByteStream
    fields: Fields
    refused: Callable[[ResponseHead], Awaitable[HopError]]
    """Takes note of a 407 and returns the error that it is."""


@dataclass(slots=True)
class EnterpriseProxies:
    """Opens tunnels through proxies; one for each process. `clock` gives seconds that only grow."""

    clock: Callable[[], float] = time.monotonic
    turns: CredentialTurns = field(default_factory=CredentialTurns)
    _schemes: dict[tuple[str, str], Scheme | None] = field(default_factory=dict)
    """What each proxy took from each user; None: it asked for nothing."""
    _refused: dict[Credentials, set[Scheme]] = field(default_factory=dict, repr=False)
    """In which schemes credentials were refused; those come last."""
    _failed: dict[str, float] = field(default_factory=dict)

    def in_order(self, proxies: Iterable[Url]) -> list[Url]:
        """Return the proxies as they are to be tried: in the given order, those that failed lately last."""
        now = self.clock()
        return sorted(proxies, key=lambda proxy: now - self._failed.get(proxy.origin, -SET_ASIDE) < SET_ASIDE)

    async def first_working(self, proxies: Iterable[Url], take: Callable[[Url], Awaitable[ByteStream]]) -> ByteStream:
        """Return what `take` makes of the first proxy that works; raises the HopError of the last one.

        A proxy that answers, be it a refusal, works; one that refuses credentials may be followed by one with others.
        """
        failures: list[HopError] = []
        refused: set[tuple[str, str]] = set()
        for proxy in self.in_order(proxies):
            if (proxy.user, proxy.password) in refused:
                continue
            try:
                stream = await take(proxy)
            except HopError as error:
                if error.code in NOT_AUTHENTICATED:
                    self._failed.pop(proxy.origin, None)
                    refused.add((proxy.user, proxy.password))
                    failures.append(error)
                    continue
                if error.hop is not Hop.PROXY or error.code not in NOT_WORKING:
                    self._failed.pop(proxy.origin, None)
                    raise
                self._failed[proxy.origin] = self.clock()
                failures.append(error)
            else:
                self._failed.pop(proxy.origin, None)
                return stream
        raise all_failed(failures)

    async def tunnel(
        self, proxy: Url, open_proxy: Open, target: Target, limit: float, access: ProxyAccess
    ) -> ByteStream:
        """Return a tunnel to the target; raises HopError (PROXY) or ConnectRefused. `limit` bounds each answer."""
        async with self._talk(proxy, open_proxy, target, limit, access) as talk:
            fields = await talk.first()
            while (answer := await talk.ask(format_connect(target, fields), f"CONNECT {target}")).status == 407:
                fields = await talk.next(answer)
            if not answer.is_success:
                raise refused_connect(Hop.PROXY, proxy.origin, target, answer)
            stream = talk.take()
            return PrefixedStream(answer.body, stream) if answer.body else stream

    async def ready_for(
        self, proxy: Url, open_proxy: Open, uri: bytes, target: Target, limit: float, access: ProxyAccess
    ) -> ReadyProxy:
        """Return a connection to the proxy that is ready for a request for the URI.

        A request may have a body, which can't be sent twice: HEADs find out before it what the proxy wants, and whether
        it takes it. Raises HopError (PROXY).
        """
        if _key(proxy) not in self._schemes and access.mechanisms(proxy):
            async with self._talk(proxy, open_proxy, target, limit, access) as talk:
                fields = await talk.first()
                while (await talk.ask_head(uri, fields)).status == 407:
                    fields = await talk.next_head()
        talk = self._talk(proxy, open_proxy, target, limit, access)
        async with talk:
            fields = await talk.first()
            while not talk.is_complete:
                if (await talk.ask_head(uri, fields)).status != 407:
                    await talk.drop()
                    fields = ()
                    break
                fields = await talk.next_head()
            await talk.connect()
            return ReadyProxy(proxy, talk.take(), fields, talk.refused_later)

    def _talk(self, proxy: Url, open_proxy: Open, target: Target, limit: float, access: ProxyAccess) -> "_Talk":
        mechanisms = access.mechanisms(proxy)
        last = self._refused.get(access.credentials(proxy), ())
        authentication = Authentication(mechanisms, self._schemes.get(_key(proxy)), last)
        return _Talk(self, proxy, open_proxy, target, limit, access, authentication)

    def learn(self, proxy: Url, scheme: Scheme | None) -> None:
        """Remember what the proxy took."""
        self._schemes[_key(proxy)] = scheme

    def unlearn(self, proxy: Url, access: ProxyAccess, failed: Iterable[Attempt] = ()) -> None:
        """Forget how the proxy wants to be asked: it has refused that."""
        self._schemes.pop(_key(proxy), None)
        if wrong := {one.scheme for one in failed if one.is_wrong_password}:
            self._refused.setdefault(access.credentials(proxy), set()).update(wrong)


@dataclass(slots=True)
class _Talk:
    """One talk with a proxy, on one connection or several; closes what nobody has taken at its end."""

    _proxies: EnterpriseProxies
    _proxy: Url
    _open: Open
    _target: Target
    _limit: float
    _access: ProxyAccess
    _authentication: Authentication
    _stream: ByteStream | None = None
    _turn: Turn | None = None
    _answer: ConnectAnswer | None = None

    @property
    def is_complete(self) -> bool:
        return self._authentication.is_complete

    async def __aenter__(self) -> "_Talk":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._turn is not None:
            self._turn.give_back()
        await self.drop()

    async def first(self) -> Fields:
        if not self._authentication.begins_at_once:
            return ()
        try:
            await self._take_turn()
        except CredentialsPaused:
            return ()  # the proxy may let this one pass without
        return await self._bounded(self._authentication.first)

    async def ask(self, request: bytes, what: str, *, has_body: bool = True) -> ConnectAnswer:
        """Send a request and return the answer, on a fresh connection when there is none."""
        stream = await self.connect()
        answer = await ask(stream, request, self._limit, Hop.PROXY, self._proxy.origin, what, has_body=has_body)
        self._answer = answer
        if answer.status != 407:
            await self._accepted(answer)
        return answer

    async def ask_head(self, uri: bytes, fields: Fields) -> ConnectAnswer:
        return await self.ask(_head_request(uri, self._target, fields), f"HEAD {self._target}", has_body=False)

    async def next_head(self) -> Fields:
        assert self._answer is not None
        return await self.next(self._answer)

    async def next(self, refusal: ConnectAnswer) -> Fields:
        """Return the fields of the request after a 407; raises HopError (ConnectRefused after a try)."""
        try:
            if self._access.mechanisms(self._proxy):
                await self._take_turn()
            fields = await self._bounded(lambda: self._authentication.next(refusal.head))
        except CredentialsPaused as pause:
            raise paused(self._proxy, self._access, pause, self._now) from None
        except AuthenticationFailed as failure:
            raise await self._refused(failure, refusal) from None
        if not self._authentication.is_bound:
            await self.drop()  # many proxies close it anyhow, and some without saying so
        elif not refusal.keeps_connection:
            raise closed_in_between(self._proxy, refusal)
        return fields

    async def refused_later(self, head: ResponseHead) -> HopError:
        """Take note of a 407 to the request that came after this talk; return the error."""
        answer = ConnectAnswer(head, b"")
        try:
            await self._bounded(lambda: self._authentication.next(head))
        except AuthenticationFailed as failure:
            return await self._refused(failure, answer)
        self._proxies.unlearn(self._proxy, self._access)
        return asks_again(self._proxy, answer)

    async def _bounded(self, step: Callable[[], Fields]) -> Fields:
        """Do a step of the authentication: Kerberos may wait for its servers, but not for ever."""
        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.to_thread(step)
        except TimeoutError:
            raise silent_kerberos(self._proxy, self._limit) from None

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

    def _now(self) -> float:
        return self._proxies.turns.clock()

    async def _take_turn(self) -> None:
        credentials = self._access.credentials(self._proxy)
        if self._turn is None and credentials:
            self._turn = await self._proxies.turns.take(credentials, self._target.authority, self._limit)

    async def _accepted(self, answer: ConnectAnswer) -> None:
        scheme = self._authentication.scheme
        if self._turn is not None and scheme is not None:
            await self._turn.accepted()
        if answer.is_success or scheme is not None or not answer.has_body:
            self._proxies.learn(self._proxy, scheme)

    async def _refused(self, failure: AuthenticationFailed, refusal: ConnectAnswer) -> ConnectRefused:
        next_try = 0.0
        if failure.is_wrong_password and self._turn is not None:
            next_try = await self._turn.was_refused()
        self._proxies.unlearn(self._proxy, self._access, failure.tried)
        return not_authenticated(self._proxy, self._access, failure, refusal, next_try)


def _key(proxy: Url) -> tuple[str, str]:
    return proxy.origin, proxy.user


def _head_request(uri: bytes, target: Target, fields: Fields) -> bytes:
    host = target.authority.removesuffix(":80")
    return b"HEAD " + uri + b" HTTP/1.1\r\n" + format_fields((("Host", host), *fields)) + b"\r\n"
