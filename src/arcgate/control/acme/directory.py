"""The authority's ACME directory: one order at a time, by a library whose calls block, each in a thread of its own.

Every wait is ours, so that a stop of the server ends it, and what the authority says of pauses is obeyed.
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from acme import client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from arcgate import __version__
from arcgate.control.acme.challenges import TlsAlpnChallenge, find_challenge
from arcgate.core.errors import ArcgateError
from arcgate.net.backoff import Backoff

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between questions when the authority wishes nothing else, doubled each time."""

_SECONDS = re.compile(r"[0-9]{1,9}\Z", re.ASCII)

Result = TypeVar("Result")


class AcmeError(ArcgateError):
    """The authority can't be reached, or gives no certificate; `retry_after` is what it wants us to wait."""

    def __init__(self, code: str, sentence: str, cause: str, retry_after: timedelta = timedelta()) -> None:
        remedy = "See 'arcgate certificate show'; the certificate in use stays, and it is tried again by itself."
        super().__init__(code, sentence, cause=cause, remedy=remedy)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Order:
    """What is being asked for, and where each name's challenge stands."""

    resource: messages.OrderResource
    proofs: dict[str, bytes]
    """By name, the digest that a handshake must show."""
    refused: dict[str, str] = field(default_factory=dict)
    """By name, why the authority can't be shown it."""


class Directory:
    """An account at an authority. Raises AcmeError for everything that fails out there."""

    def __init__(self, url: str, key: ec.EllipticCurvePrivateKey, ca_file: Path | None, timeout: int) -> None:
        self._url = url
        self._key = JWKEC(key=key)
        self._net = client.ClientNetwork(self._key, alg=ES256, user_agent=f"arcgate/{__version__}", timeout=timeout)
        if ca_file is not None:
            self._net.verify_ssl = str(ca_file)  # type: ignore[assignment]  # passed on to requests, which takes paths
        self._net.session.hooks["response"].append(self._remember)
        self._retry_after = timedelta()
        self._client: client.ClientV2 | None = None

    async def open(self, email: str, *, terms_agreed: bool) -> None:
        """Read the directory, and make our account or find it again."""
        if self._client is not None:
            return
        directory = await self._call(client.ClientV2.get_directory, self._url, self._net)
        opened = client.ClientV2(directory, self._net)
        contact = (f"mailto:{email}",) if email else ()
        wanted = messages.NewRegistration(contact=contact, terms_of_service_agreed=terms_agreed)
        try:
            await self._call(opened.new_account, wanted)
        except _Known as known:
            self._net.account = messages.RegistrationResource(uri=known.uri, body=messages.Registration())
        self._client = opened

    async def order(self, names: Iterable[str], key: ec.EllipticCurvePrivateKey) -> Order:
        """Begin an order; nothing has been looked at yet."""
        resource = await self._call(self._opened.new_order, _request(names, key))
        order = Order(resource, {})
        for authorization in resource.authorizations:
            body, name = authorization.body, authorization.body.identifier.value
            if body.status == messages.STATUS_VALID:
                continue
            challenge = find_challenge(body)
            if challenge is None:
                order.refused[name] = "the authority does not offer the challenge tls-alpn-01 for it"
                continue
            assert isinstance(challenge.chall, TlsAlpnChallenge)
            order.proofs[name] = challenge.chall.validation(self._key)
        return order

    async def validate(self, order: Order, timeout: float) -> None:
        """Let the authority look at the names, whose proofs are in place; those that it refuses join `refused`."""
        waiting = [one for one in order.resource.authorizations if one.body.identifier.value in order.proofs]
        for authorization in waiting:
            challenge = find_challenge(authorization.body)
            assert challenge is not None
            await self._call(self._opened.answer_challenge, challenge, challenge.chall.response(self._key))
        try:
            async with asyncio.timeout(timeout):
                for authorization in waiting:
                    await self._settle(authorization, order)
        except TimeoutError:
            cause = f"it has not looked at all names within {timeout:g} s"
            raise AcmeError("ACME_TIMEOUT", "The authority is slow.", cause) from None

    async def finish(self, order: Order, timeout: float) -> str:
        """Return the chain in PEM of an order whose names have all been proved."""
        try:
            async with asyncio.timeout(timeout):
                resource = await self._call(self._opened.begin_finalization, order.resource)
                # Its answer need not name the order, whose place we know.
                resource = resource.update(uri=order.resource.uri)
                pauses = _pauses()
                while True:
                    # The library's own loop would block: with a deadline that near it asks once.
                    soon = datetime.now() + timedelta(milliseconds=1)
                    try:
                        got = await self._call(self._opened.poll_finalization, resource, soon)
                    except _NotYet:
                        await self._pause(pauses)
                        continue
                    return str(got.fullchain_pem)
        except TimeoutError:
            cause = f"it has not issued the certificate within {timeout:g} s"
            raise AcmeError("ACME_TIMEOUT", "The authority is slow.", cause) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._net.session.close()

    @property
    def _opened(self) -> client.ClientV2:
        assert self._client is not None
        return self._client

    async def _settle(self, authorization: messages.AuthorizationResource, order: Order) -> None:
        name, pauses = authorization.body.identifier.value, _pauses()
        while True:
            authorization, _ = await self._call(self._opened.poll, authorization)
            status = authorization.body.status
            if status == messages.STATUS_VALID:
                return
            if status not in {messages.STATUS_PENDING, messages.STATUS_PROCESSING}:
                order.refused[name] = _cause_of(authorization.body, str(status))
                return
            await self._pause(pauses)

    async def _pause(self, pauses: Backoff) -> None:
        await asyncio.sleep(max(pauses.next(), self._retry_after.total_seconds()))

    async def _call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        self._retry_after = timedelta()
        try:
            return await asyncio.to_thread(function, *arguments)
        except errors.ConflictError as error:
            raise _Known(error.location) from None
        except errors.TimeoutError:
            raise _NotYet from None
        except messages.Error as error:
            raise AcmeError(
                "ACME_REFUSED", "The authority refuses the order.", describe(error), self._retry_after
            ) from None
        except errors.Error as error:
            cause = str(error) or type(error).__name__
            raise AcmeError("ACME_FAILED", "The order has failed.", cause[:500], self._retry_after) from None
        except (OSError, ValueError, KeyError, AttributeError) as error:
            # requests' errors are OSErrors; the others come of answers that are not of this protocol.
            cause = f"{type(error).__name__}: {error}"[:500]
            raise AcmeError("ACME_UNREACHABLE", "The ACME directory can't be used.", cause) from None

    def _remember(self, response: Any, *_arguments: Any, **_options: Any) -> None:
        self._retry_after = read_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))


class _Known(Exception):
    """The account is there already."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri


class _NotYet(Exception):
    """The order is still being worked on."""


def read_retry_after(text: str, now: datetime) -> timedelta:
    """Return the pause that a Retry-After field asks for (RFC 9110 section 10.2.3), none when it is malformed."""
    if _SECONDS.match(text):
        return timedelta(seconds=int(text))
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return timedelta()
    return max(timedelta(), (then if then.tzinfo else then.replace(tzinfo=UTC)) - now)


def describe(error: messages.Error) -> str:
    """Return an authority's problem document on one line, with what it says of single names."""
    parts = [f"{error.code or error.typ}: {error.detail or error.title or 'without explanation'}"]
    parts += [
        f"{one.identifier.value if one.identifier else 'a name'}: {one.detail or one.typ}"
        for one in error.subproblems or ()
    ]
    return " ".join("; ".join(parts).split())[:500]


def _pauses() -> Backoff:
    return Backoff(random.random, FIRST_PAUSE, LONGEST_PAUSE)


def _cause_of(authorization: messages.Authorization, status: str) -> str:
    for one in authorization.challenges:
        if one.error is not None:
            return describe(one.error)
    return f"its authorization is {status}"


def _request(names: Iterable[str], key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(subject, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
