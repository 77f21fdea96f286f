"""What is told of an enterprise proxy that lets nothing pass: sentence, cause, and what to do about it."""

from collections.abc import Callable
from datetime import UTC, datetime

from arcgate.core.audit import printable
from arcgate.core.errors import Hop, HopError
from arcgate.core.urls import Url
from arcgate.net.credential_turns import CredentialsPaused
from arcgate.net.dialer import ConnectAnswer, ConnectRefused
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.wire.proxy_authentication import AuthenticationFailed, Scheme

NOT_AUTHENTICATED = frozenset({"PROXY_AUTHENTICATION_FAILED", "PROXY_AUTHENTICATION_PAUSED"})
"""Codes of errors that say nothing about the request: another proxy may know other credentials."""

_NOT_MORE_OFTEN = "the password is not tried more often so that the account isn't locked."


def all_failed(failures: list[HopError]) -> HopError:
    """Return the error of proxies of which none works; pure."""
    if len(failures) == 1:
        return failures[0]
    # Nobody goes past a proxy that has answered.
    told = next((error for error in failures if error.code in NOT_AUTHENTICATED), None)
    return HopError(
        Hop.PROXY,
        (told or failures[-1]).code,
        f"None of the {len(failures)} enterprise proxies works.",
        cause=" ".join(f"{error.sentence} {error.cause}".strip() for error in failures),
        remedy=(told or failures[0]).remedy,
    )


def closed_in_between(proxy: Url, refusal: ConnectAnswer) -> ConnectRefused:
    """Return the error of a proxy that lets nobody finish NTLM or Negotiate."""
    return ConnectRefused(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"{proxy.origin} closes the connection in the middle of the authentication.",
        refusal.refusal,
        remedy="Let the proxy keep connections while NTLM or Negotiate goes on, or allow Basic there.",
    )


def silent_kerberos(proxy: Url, limit: float) -> HopError:
    """Return the error of a ticket that did not come in time."""
    return HopError(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"There was no Kerberos ticket for {proxy.origin} in {limit:g} s.",
        cause="Kerberos' servers don't answer",
        remedy="Check the servers in krb5.conf or DNS, and that the firewall lets this machine reach their port 88.",
    )


def asks_again(proxy: Url, answer: ConnectAnswer) -> ConnectRefused:
    """Return the error of a proxy that wants another scheme than before."""
    return ConnectRefused(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"{proxy.origin} answered 407: it wants to be asked in another way than before.",
        answer.refusal,
        remedy="Repeat the request.",
    )


def paused(proxy: Url, access: ProxyAccess, pause: CredentialsPaused, now: Callable[[], float]) -> HopError:
    """Return the error of credentials that are not sent now."""
    often = "once" if pause.refusals <= 1 else f"{pause.refusals} times in a row"
    return HopError(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_PAUSED",
        f"{proxy.origin} refused {_who(proxy, access)}: nothing is sent there before {_moment(pause.next_try)} "
        f"(in {max(1, round(pause.next_try - now()))} s).",
        cause=f"it answered 407 to these credentials {often}, and {_NOT_MORE_OFTEN}",
        remedy=_correct(proxy, access),
    )


def _correct(proxy: Url, access: ProxyAccess) -> str:
    what = f"the keytab {access.keytab}"
    if proxy.user or proxy.password:
        what = f"the password of {_who(proxy, access)} in {access.source or 'the URL of the proxy'}"
    again = ", and 'azcmagent check' tries the same one once" if access.source else ""
    return (
        f"Correct {what}: another one is tried at once{again}. "
        "If it is right, let the proxy allow this user and target."
    )


def _who(proxy: Url, access: ProxyAccess) -> str:
    return f"the user '{printable(proxy.user, 100)}'" if proxy.user else f"the keytab {access.keytab}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def not_authenticated(
    proxy: Url, access: ProxyAccess, failure: AuthenticationFailed, answer: ConnectAnswer, next_try: float = 0.0
) -> ConnectRefused:
    """Return the error of a proxy that wants authentication which did not work; pure.

    `next_try` is when the same credentials may be sent again, 0 for at once.
    """
    titles = ", ".join(Scheme(one).spelled if one in set(Scheme) else one for one in failure.offered)
    tried = "; ".join(f"{one.scheme.spelled}: {one.cause or 'the proxy refused it'}" for one in failure.tried)
    return ConnectRefused(
        Hop.PROXY,
        "PROXY_AUTHENTICATION_FAILED",
        f"{proxy.origin} answered 407: it wants authentication ({titles or 'it names no scheme'}).",
        answer.refusal,
        cause=tried + (f"; the next try is at {_moment(next_try)}: {_NOT_MORE_OFTEN}" if next_try else ""),
        remedy=_remedy(proxy, access, failure),
    )


def _remedy(proxy: Url, access: ProxyAccess, failure: AuthenticationFailed) -> str:
    offered = {Scheme(one) for one in failure.offered if one in set(Scheme)}
    if not offered:
        return "Let the proxy offer Negotiate, NTLM or Basic, or exempt this machine there."
    if not offered & set(access.schemes):
        return "Add one of its schemes to the setting proxy.authentication."
    if failure.is_wrong_password:
        return _correct(proxy, access)
    if any(one.was_refused for one in failure.tried):
        return "Check the user and password of the setting proxy.credentials, and the user's rights on the proxy."
    if offered & {Scheme.NTLM, Scheme.BASIC} and not proxy.user:
        return "Give it user and password, in a file: 'azcmagent config set proxy.credentials FILE'."
    return next((one.remedy for one in failure.tried if one.remedy), "Look into the log of the proxy.")
