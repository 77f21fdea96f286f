"""Tokens of an issuer outside (OpenID Connect): Entra ID, Keycloak or another one that identity.issuer names.

Nothing in a token chooses where keys come from: the issuer's own document names them, over https. Keys are kept
for a while and used on when the issuer can't be reached; a token with an unknown key makes us look again, but
not more often than once a minute.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from arcgate.core.configuration import IdentitySettings
from arcgate.core.errors import ArcgateError, InputError, StateError
from arcgate.core.names import Target
from arcgate.core.urls import parse_url
from arcgate.net.dialer import dial
from arcgate.net.http_client import HttpClient
from arcgate.net.resolver import SystemResolver
from arcgate.net.streams import ByteStream
from arcgate.net.tls import client_context

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"]
KEPT = timedelta(hours=1)
"""After this time keys are looked up again."""
LONGEST_KEPT = timedelta(days=1)
"""Keys of an issuer that can't be reached are good so long."""
LOOK_UP_PAUSE = timedelta(minutes=1)
"""Time between two look-ups, whatever tokens come."""
LOOK_UP_TIMEOUT = 10.0
"""Seconds for each of the issuer's documents."""
LARGEST_DOCUMENT = 1024 * 1024
LONGEST_TOKEN = 16 * 1024
LONGEST_SUBJECT = 200
MOST_GROUPS = 500
SKEW = 60
"""Seconds that the issuer's clock may differ from ours."""


class _Registry(jws.JWSRegistry):
    max_header_length = 4096  # issuers name certificates there


_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_log = structlog.get_logger("arcgate.control")


@dataclass(frozen=True, slots=True)
class Outsider:
    """Who a verified token is of, in the issuer's words."""

    subject: str
    groups: tuple[str, ...]
    client_id: str
    is_application: bool


@dataclass
class ExternalIssuer:
    """Verifies the issuer's tokens."""

    settings: IdentitySettings
    client: HttpClient
    clock: Callable[[], datetime]
    _keys: KeySet | None = None
    _known_at: datetime | None = None
    _asked_at: datetime | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def issued(self, token: str) -> bool:
        """Say whether the token says that it is of this issuer, which proves nothing yet."""
        if len(token) > LONGEST_TOKEN or not _TOKEN.match(token):
            return False
        try:
            claims = json.loads(jws.extract_compact(token.encode("ascii"), registry=_REGISTRY).payload)
            return isinstance(claims, dict) and claims.get("iss") == self.settings.issuer
        except (JoseError, ValueError, TypeError, RecursionError):
            return False

    async def verify(self, token: str) -> Outsider:
        """Return who the access token is of; raises InputError (TOKEN_INVALID)."""
        try:
            header = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY).headers()
            if header.get("alg") not in ALGORITHMS:
                raise _invalid("its algorithm is not accepted")
            keys = await self._keys_with(header.get("kid"))
            claims = jwt.decode(token, keys, registry=_REGISTRY).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _invalid("its signature is not the issuer's") from None
        self._check(claims)
        return self._outsider(claims)

    def _check(self, claims: Mapping[str, Any]) -> None:
        now = self.clock().timestamp()
        audience, end, start = claims.get("aud"), _number(claims.get("exp")), _number(claims.get("nbf", 0))
        if claims.get("iss") != self.settings.issuer:
            raise _invalid("it is of another issuer")
        if self.settings.audience not in (audience if isinstance(audience, list) else [audience]):
            raise _invalid("it is for another audience")
        if end is None or start is None:
            raise _invalid("a time is missing")
        if now >= end:
            raise _invalid("it has expired")
        if start > now + SKEW:
            raise _invalid("it is not valid yet")

    def _outsider(self, claims: Mapping[str, Any]) -> Outsider:
        subject, groups = claims.get(self.settings.subject_claim), claims.get(self.settings.groups_claim, [])
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
            raise _invalid(f"its claim {self.settings.subject_claim} is missing")
        if not isinstance(groups, list):
            groups = []
        named = tuple(one for one in groups[:MOST_GROUPS] if isinstance(one, str) and 0 < len(one) <= LONGEST_SUBJECT)
        client_id = claims.get("azp") or claims.get("appid") or claims.get("client_id") or ""
        return Outsider(subject, named, str(client_id)[:LONGEST_SUBJECT], claims.get("idtyp") == "app")

    async def _keys_with(self, key_id: Any) -> KeySet:
        # While one request waits for an issuer that is slow to answer, the others go on with what is known.
        if self._turn.locked() and (known := self._kept(self.clock())) is not None and _names(known, key_id):
            return known
        async with self._turn:
            now = self.clock()
            if self._needs_look_up(key_id, now):
                await self._look_up(now)
            kept = self._kept(now)
        if kept is None:
            raise _invalid("the keys of its issuer can't be looked up")
        return kept

    def _kept(self, now: datetime) -> KeySet | None:
        """Return the keys that are known, unless they are too old."""
        if self._known_at is None or now - self._known_at > LONGEST_KEPT:
            return None
        return self._keys

    def _needs_look_up(self, key_id: Any, now: datetime) -> bool:
        if self._asked_at is not None and timedelta(0) <= now - self._asked_at < LOOK_UP_PAUSE:
            return False
        if self._keys is None or self._known_at is None or now - self._known_at > KEPT:
            return True
        return not _names(self._keys, key_id)

    async def _look_up(self, now: datetime) -> None:
        self._asked_at = now
        try:
            self._keys = _key_set(await self._get(await self._keys_url()))
            self._known_at = now
        except (ArcgateError, JoseError, ValueError, TypeError, KeyError) as error:
            problem = error.one_line() if isinstance(error, ArcgateError) else f"its documents are malformed: {error}"
            _log.warning("issuer's keys not looked up", issuer=self.settings.issuer, problem=problem)

    async def _keys_url(self) -> str:
        document = await self._get(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self.settings.issuer or not isinstance(url, str):
            raise _unusable("its document is of another issuer, or names no keys")
        if not parse_url(url).is_tls:
            raise _unusable("its keys are not at an https URL")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self.client.request("GET", url, timeout=LOOK_UP_TIMEOUT, largest_answer=LARGEST_DOCUMENT)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise _unusable(f"{url} answered {answer.status}, or something else than a JSON object")
        return document


def external_issuer(settings: IdentitySettings, clock: Callable[[], datetime]) -> ExternalIssuer | None:
    """Return the issuer that is configured, None without one; raises StateError when it can't be used."""
    if not settings.issuer:
        return None
    if not settings.audience:
        text = "identity.issuer is set without identity.audience."
        raise StateError("ISSUER_AUDIENCE_MISSING", text, remedy="Name the audience that tokens for this API have.")
    try:
        ca_pem = settings.ca_file.read_text(encoding="ascii") if settings.ca_file is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        text = f"The file {settings.ca_file} of identity.ca_file can't be read."
        raise StateError("ISSUER_CA_UNUSABLE", text, cause=str(error)) from None
    return ExternalIssuer(settings, HttpClient(_open_stream, client_context(ca_pem=ca_pem), "arcgate-control"), clock)


async def _open_stream(target: Target) -> ByteStream:
    addresses = [target.host] if not isinstance(target.host, str) else await SystemResolver().resolve(target.host)
    return await dial(addresses, target.port, LOOK_UP_TIMEOUT)


def _names(keys: KeySet, key_id: Any) -> bool:
    return key_id in [key.kid for key in keys.keys]


def _key_set(document: Mapping[str, Any]) -> KeySet:
    """Return the keys that sign; those of kinds that we don't know are left aside."""
    found = [one for one in document["keys"] if isinstance(one, dict) and one.get("use", "sig") == "sig"]
    public = [{name: value for name, value in one.items() if name not in ("x5c", "x5t", "x5u")} for one in found]
    kinds = ("RSA", "EC")
    return KeySet([JWKRegistry.import_key(one) for one in public if one.get("kty") in kinds])


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unusable(cause: str) -> InputError:
    return InputError("ISSUER_UNUSABLE", "The issuer of identity.issuer can't be used.", cause=cause)


def _invalid(cause: str) -> InputError:
    return InputError("TOKEN_INVALID", "The access token is invalid.", cause=cause, remedy="Sign in again.")
