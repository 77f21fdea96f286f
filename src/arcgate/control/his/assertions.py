"""Machines' assertions: signed JSON Web Tokens, verified without I/O, clock or state of their own.

The algorithm follows from the type of the registered key and from nothing in the token. Replays are told
apart by `ReplayCache`, which the caller keeps.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from arcgate.control.authority.certificates import PublicKey
from arcgate.core.errors import InputError

AUDIENCE = "arcgate-his"
LONGEST_LIFE = 300
"""Seconds from iat to exp."""
LARGEST_SKEW = 300
"""Seconds that iat may be away from the server's clock."""
LONGEST_TOKEN = 4096
"""Characters."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_IDENTIFIER = re.compile(r"[\x21-\x7e]{8,128}\Z")
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9_.-]+)\Z")


class ClockSkewError(InputError):
    """The machine's clock differs too much from the server's."""

    def __init__(self, now: datetime) -> None:
        super().__init__(
            "ClockSkew",
            f"The machine's clock differs from the server's by more than {LARGEST_SKEW} seconds.",
            remedy="Set the machine's clock, or correct assertions by the serverTime of this answer.",
        )
        self.server_time = now


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified assertion: who signed it, its identifier and when it ends (seconds since the epoch)."""

    machine_id: str
    identifier: str
    expires: float


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header; raises InputError (AssertionInvalid)."""
    match = _BEARER.match(authorization) if len(authorization) <= LONGEST_TOKEN + 16 else None
    if match is None:
        raise _invalid("the Authorization header holds no bearer token")
    return match[1]


def verify_assertion(token: str, machine_id: str, key: PublicKey, now: datetime) -> Assertion:
    """Return the assertion of this machine; raises InputError (AssertionInvalid) or ClockSkewError."""
    claims = _verified_claims(token, machine_id, key)
    if claims.get("iss") != machine_id or claims.get("sub") != machine_id:
        raise _invalid("its issuer and subject are not the machine")
    if claims.get("aud") != AUDIENCE:
        raise _invalid(f"its audience is not {AUDIENCE}")
    identifier = claims.get("jti")
    if not isinstance(identifier, str) or not _IDENTIFIER.match(identifier):
        raise _invalid("its jti is missing or malformed")
    return Assertion(machine_id, identifier, _check_times(claims, now))


def _verified_claims(token: str, machine_id: str, key: PublicKey) -> dict[str, Any]:
    if len(token) > LONGEST_TOKEN or not _TOKEN.match(token):
        raise _invalid("it is not a signed token")
    try:
        decoded = jwt.decode(token, _jose_key(key), algorithms=[_algorithm_of(key)])
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise _invalid("its signature is not the machine's") from error
    if decoded.header.get("kid") != machine_id:
        raise _invalid("its kid is not the machine")
    return decoded.claims


def _algorithm_of(key: PublicKey) -> str:
    match key:
        case rsa.RSAPublicKey():
            return "RS256"
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return "ES256"
        case _:
            raise _invalid("keys of this kind sign no assertions")


def _jose_key(key: PublicKey) -> RSAKey | ECKey:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return RSAKey.import_key(pem) if isinstance(key, rsa.RSAPublicKey) else ECKey.import_key(pem)


def _check_times(claims: dict[str, Any], now: datetime) -> float:
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    moment = now.timestamp()
    if abs(moment - issued) > LARGEST_SKEW:
        raise ClockSkewError(now)
    if not 0 < expires - issued <= LONGEST_LIFE:
        raise _invalid(f"it must be good for {LONGEST_LIFE} seconds at most")
    if expires <= moment:
        raise _invalid("it has expired")
    return expires


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
        raise _invalid(f"its {name} is missing or not a number")
    return float(value)


def _invalid(cause: str) -> InputError:
    return InputError(
        "AssertionInvalid",
        "The machine's assertion is not acceptable.",
        cause=cause,
        remedy="Sign a new assertion with the machine's key for each request.",
    )


@dataclass(slots=True)
class ReplayCache:
    """Remembers the identifiers of accepted assertions until they expire; bounded in machines and for each.

    A machine that fills its own share is turned away (TooManyRequests); others don't notice.
    """

    most_machines: int = 50_000
    most_each: int = 600
    _seen: OrderedDict[str, dict[str, float]] = field(default_factory=OrderedDict)

    def accept(self, assertion: Assertion, now: datetime) -> None:
        """Note the assertion; raises InputError: AssertionInvalid on a replay, TooManyRequests on a full share."""
        seen = self._seen.setdefault(assertion.machine_id, {})
        self._seen.move_to_end(assertion.machine_id)
        if assertion.identifier in seen:
            raise _invalid("it has been used before")
        if len(seen) >= self.most_each:
            self._forget_expired(seen, now.timestamp())
        if len(seen) >= self.most_each:
            raise InputError("TooManyRequests", "The machine sends too many requests.", remedy="Retry in a minute.")
        seen[assertion.identifier] = assertion.expires
        while len(self._seen) > self.most_machines:
            self._seen.popitem(last=False)

    @staticmethod
    def _forget_expired(seen: dict[str, float], moment: float) -> None:
        for identifier in [one for one, expires in seen.items() if expires <= moment]:
            del seen[identifier]


def server_time(now: datetime) -> str:
    """Return the time as answers carry it: ISO 8601 in UTC, to the second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
