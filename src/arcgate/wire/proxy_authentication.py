"""The talk with an enterprise proxy that wants to know who asks (RFC 9110 section 11, RFC 4559, MS-NTHT). Sans-IO.

The proxy's 407 names its schemes; the strongest one that is allowed and can be begun here is taken, its tokens go
back and forth until the proxy is content, and a weaker one is tried only when a stronger one can't do it.
"""

import base64
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from arcgate.wire.heads import Fields, ResponseHead

MOST_ROUNDS = 8
"""Answers of a proxy that a talk may take; NTLM and Kerberos need three at most."""

LONGEST_TOKEN = 48 * 1024
"""Characters of a proxy's token; Kerberos tickets with many groups have some 10 000."""

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9_-]{0,31})(?:[ \t]+(?P<token>[A-Za-z0-9+/]+={0,2}))?[ \t]*\Z")
# Commas part challenges and the parameters of one; those in quotes part nothing. One that never ends takes all
# that follows. Nothing is read twice, so that the time grows with the length alone.
_PART = re.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.?)*+(?:"|\Z))++')
_SHOWN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_PARAMETER = re.compile(r"[A-Za-z0-9_-]+[ \t]*=[ \t]*[^=]")


class Scheme(StrEnum):
    """The schemes that we know, the strongest first."""

    NEGOTIATE = "negotiate"
    NTLM = "ntlm"
    BASIC = "basic"

    @property
    def spelled(self) -> str:
        """The scheme as it is written in fields and messages."""
        return "NTLM" if self is Scheme.NTLM else self.capitalize()


class MechanismError(Exception):
    """A scheme can't be begun or continued here: `str` says why, `remedy` what helps.

    `is_refusal` when somebody judged the password or key wrong: then others must not be asked with the same one.
    """

    def __init__(self, cause: str, remedy: str = "", *, is_refusal: bool = False) -> None:
        super().__init__(cause)
        self.remedy = remedy
        self.is_refusal = is_refusal


class Mechanism(Protocol):
    """Makes one scheme's tokens."""

    @property
    def is_complete(self) -> bool:
        """Whether the newest token needs no answer of the proxy's."""
        ...

    @property
    def shows_password(self) -> bool:
        """Whether the newest token lets the proxy judge a password."""
        ...

    def step(self, challenge: bytes) -> bytes:
        """Return the next token, the first one for an empty challenge; raises MechanismError."""
        ...


class Basic:
    """User and password as they are (RFC 7617)."""

    is_complete = True
    shows_password = True

    def __init__(self, user: str, password: str) -> None:
        self._token = f"{user}:{password}".encode()

    def step(self, challenge: bytes) -> bytes:
        """Return the token; raises MechanismError for a second one, which would be the same."""
        if challenge:
            raise MechanismError("the proxy answered Basic with a token")
        return self._token


class AuthenticationFailed(Exception):
    """No scheme worked: what the proxy offered, and what became of each one that we tried."""

    def __init__(self, offered: tuple[str, ...], tried: "tuple[Attempt, ...]") -> None:
        super().__init__("authentication failed")
        self.offered = offered
        self.tried = tried

    @property
    def is_wrong_password(self) -> bool:
        """Whether somebody has judged the password wrong."""
        return any(one.is_wrong_password for one in self.tried)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A scheme that did not work. `was_refused` by the proxy; otherwise it could not be begun here."""

    scheme: Scheme
    was_refused: bool
    cause: str = ""
    remedy: str = ""
    is_wrong_password: bool = False
    """Whether somebody has judged the password, which accounts count."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One offer of a proxy's; the token is empty in the first one."""

    scheme: str
    token: bytes = b""


def parse_challenges(head: ResponseHead) -> tuple[Challenge, ...]:
    """Return what the answer offers, in order; malformed parts are passed over."""
    found: list[Challenge] = []
    for name, value in head.fields:
        if name == "proxy-authenticate" and len(value) <= LONGEST_TOKEN:
            found += [challenge for part in _PART.findall(value) if (challenge := _challenge(part.strip(" \t")))]
    return tuple(found)


def _challenge(part: str) -> Challenge | None:
    if (match := _SCHEME.match(part)) is not None:
        return Challenge(match["scheme"].lower(), _decoded(match["token"] or ""))
    if _PARAMETER.match(part):
        return None  # belongs to the challenge before it
    scheme = _SHOWN.match(part)
    return Challenge(scheme[0].lower()) if scheme is not None else None


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token, validate=True)
    except ValueError:
        return b""


class Authentication:
    """One talk: give `first` with the request, and `next` with it again after each 407.

    `mechanisms` begin the allowed schemes, `remembered` is the one that the proxy took the last time, `last` are those
    that come after the others. Their work may take a while (Kerberos asks its servers). A password that was refused in
    one scheme is not tried in another one: the account would count it twice.
    """

    def __init__(
        self,
        mechanisms: Mapping[Scheme, Callable[[], Mechanism]],
        remembered: Scheme | None = None,
        last: Collection[Scheme] = (),
    ) -> None:
        self._mechanisms = mechanisms
        self._remembered = remembered if remembered in mechanisms else None
        self._order = sorted(Scheme, key=lambda scheme: scheme in last)
        self._offered: tuple[str, ...] = ()
        self._failed: list[Attempt] = []
        self._mechanism: Mechanism | None = None
        self._tokens = 0
        self.scheme: Scheme | None = None
        """The scheme in use, None while none is."""

    @property
    def is_bound(self) -> bool:
        """Whether the next request must go on the same connection, because the proxy's token belongs to it."""
        return self._tokens > 1

    @property
    def is_complete(self) -> bool:
        """Whether the newest fields end the talk, as far as it is ours."""
        return self._mechanism is None or self._mechanism.is_complete

    @property
    def begins_at_once(self) -> bool:
        """Whether `first` is going to say who asks."""
        return self._remembered is not None

    def first(self) -> Fields:
        """Return the fields of the first request: none, unless we know what the proxy wants."""
        if self._remembered is None:
            return ()
        begun = self._begin(self._remembered)
        # Otherwise the proxy hasn't even asked yet.
        self._failed = [attempt for attempt in self._failed if attempt.is_wrong_password]
        return begun or ()

    def next(self, head: ResponseHead) -> Fields:
        """Return the fields for the request again after a 407; raises AuthenticationFailed."""
        challenges = parse_challenges(head)
        self._offered = tuple(dict.fromkeys(one.scheme for one in challenges))
        if self.scheme is not None and (continued := self._continue(self.scheme, challenges)) is not None:
            return continued
        for scheme in self._order:
            if any(attempt.is_wrong_password for attempt in self._failed):
                break
            is_new = all(attempt.scheme is not scheme for attempt in self._failed)
            is_possible = scheme in self._offered and scheme in self._mechanisms and is_new
            if is_possible and (begun := self._begin(scheme)) is not None:
                return begun
        raise AuthenticationFailed(self._offered, tuple(self._failed))

    def _begin(self, scheme: Scheme) -> Fields | None:
        try:
            self._mechanism = self._mechanisms[scheme]()
            self.scheme, self._tokens = scheme, 0
            return self._fields(scheme, self._mechanism, b"")
        except MechanismError as error:
            refused = error.is_refusal
            self._give_up(Attempt(scheme, refused, str(error), error.remedy, is_wrong_password=refused))
            return None

    def _continue(self, scheme: Scheme, challenges: tuple[Challenge, ...]) -> Fields | None:
        token = next((one.token for one in challenges if one.scheme == scheme), b"")
        if not token or self._mechanism is None or self._tokens >= MOST_ROUNDS:
            # A proxy that doesn't offer the scheme any more has not looked at the password.
            is_judged = self._mechanism is not None and self._mechanism.shows_password and scheme in self._offered
            self._give_up(Attempt(scheme, was_refused=True, is_wrong_password=is_judged))
            return None
        try:
            return self._fields(scheme, self._mechanism, token)
        except MechanismError as error:
            self._give_up(Attempt(scheme, was_refused=True, cause=str(error), remedy=error.remedy))
            return None

    def _fields(self, scheme: Scheme, mechanism: Mechanism, challenge: bytes) -> Fields:
        token = base64.b64encode(mechanism.step(challenge)).decode("ascii")
        self._tokens += 1
        return (("Proxy-Authorization", f"{scheme.spelled} {token}"),)

    def _give_up(self, attempt: Attempt) -> None:
        self._failed.append(attempt)
        self.scheme, self._mechanism, self._tokens = None, None, 0
