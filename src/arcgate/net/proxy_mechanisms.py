"""What this machine can say to an enterprise proxy: the mechanisms behind each scheme, made for one proxy.

NTLM is pyspnego's own implementation in Python; Kerberos is the system's (`net.kerberos`).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from arcgate.core.urls import Url
from arcgate.net.credential_turns import Credentials
from arcgate.net.files import signature_of
from arcgate.net.kerberos import Negotiation
from arcgate.wire.proxy_authentication import Basic, Mechanism, MechanismError, Scheme


@dataclass(frozen=True, slots=True)
class ProxyAccess:
    """What may be used towards proxies, apart from the users and passwords of their URLs."""

    schemes: tuple[Scheme, ...] = tuple(Scheme)
    keytab: str = field(default="", repr=False)
    """Kerberos key table of the machine or of a user for this; empty: the ticket cache."""
    source: str = ""
    """Where user and password are from, for messages."""

    def credentials(self, proxy: Url) -> Credentials:
        """Return what the proxy, or Kerberos' server, may judge wrong; empty where there is nothing secret."""
        keytab = (self.keytab, *map(str, signature_of(Path(self.keytab)))) if self.keytab else ()
        if not (proxy.user or proxy.password or keytab):
            return ()
        return (proxy.origin, proxy.user, proxy.password, *self.schemes, *keytab)

    def mechanisms(self, proxy: Url) -> Mapping[Scheme, Callable[[], Mechanism]]:
        """Return what begins each scheme that may be used towards the proxy and has what it needs."""
        makers: dict[Scheme, Callable[[], Mechanism]] = {Scheme.NEGOTIATE: partial(Negotiate, proxy, self.keytab)}
        if proxy.user or proxy.password:
            makers[Scheme.NTLM] = partial(Ntlm, proxy, "ntlm")
            makers[Scheme.BASIC] = partial(Basic, proxy.user, proxy.password)
        return {scheme: maker for scheme, maker in makers.items() if scheme in self.schemes}


_MALFORMED = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, struct.error)
"""What pyspnego raises for malformed tokens of a proxy's, besides its own errors."""


class Ntlm:
    """NTLM (version 2) with the URL's user and password, bare or within SPNEGO ('negotiate')."""

    def __init__(self, proxy: Url, protocol: str) -> None:
        import spnego  # takes 50 ms, which only those pay who need it

        self._tokens = 0
        options = spnego.NegotiateOptions
        try:
            self._context: Any = spnego.client(
                proxy.user,
                proxy.password,
                hostname=str(proxy.target.host),
                service="HTTP",
                protocol=protocol,
                options=options.use_ntlm if protocol == "ntlm" else options.use_negotiate,
            )
        except spnego.exceptions.SpnegoError as error:
            raise MechanismError(_line(error)) from None

    @property
    def is_complete(self) -> bool:
        """Whether the newest token was the last one."""
        return bool(self._context.complete)

    @property
    def shows_password(self) -> bool:
        """Whether the newest token was made with the password: the first one is not."""
        return self._tokens > 1

    def step(self, challenge: bytes) -> bytes:
        """Return the next token; raises MechanismError."""
        import spnego

        self._tokens += 1
        try:
            return self._context.step(challenge or None) or b""
        except (spnego.exceptions.SpnegoError, *_MALFORMED) as error:
            raise MechanismError(_line(error), "Check what answers there for the proxy.") from None


class Negotiate:
    """Kerberos where there is a ticket, a keytab or a user of a realm; else NTLM within SPNEGO, given a password."""

    def __init__(self, proxy: Url, keytab: str) -> None:
        self._proxy = proxy
        self._keytab = keytab
        self._chosen: Mechanism | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the newest token was the last one."""
        return self._chosen is not None and self._chosen.is_complete

    @property
    def shows_password(self) -> bool:
        """Whether the newest token was made with the password itself."""
        return self._chosen is not None and self._chosen.shows_password

    def step(self, challenge: bytes) -> bytes:
        """Return the next token; may wait for Kerberos' servers. Raises MechanismError."""
        if self._chosen is not None:
            return self._chosen.step(challenge)
        user, password = self._proxy.user, self._proxy.password
        of_realm = "@" in user
        self._chosen = Negotiation(
            str(self._proxy.target.host),
            keytab=self._keytab,
            user=user if of_realm else "",
            password=password if of_realm else "",
        )
        try:
            return self._chosen.step(challenge)
        except MechanismError as error:
            if not password or error.is_refusal:
                raise
            self._chosen = Ntlm(self._proxy, "negotiate")
            return self._chosen.step(challenge)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
