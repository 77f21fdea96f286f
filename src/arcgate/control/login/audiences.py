"""Scopes and audiences of token requests. Pure."""

import re

from arcgate.control.login.failures import GrantError

DEFAULT_SUFFIX = "/.default"
USER_SCOPES = frozenset({"openid", "profile", "offline_access", "email"})
LONGEST_SCOPE = 1000

_SCOPE = re.compile(r"[!#-\[\]-~]+(?: +[!#-\[\]-~]+)*\Z")


def audience_of(scope: str, resource: str, known: frozenset[str], default: str) -> str:
    """Return the audience of a scope, verbatim but for one `/.default`; raises GrantError (invalid_scope).

    Clients make the scope from the audience that the cloud's description names, `URL/` + `/.default`, so the
    slash that remains belongs to the audience.
    """
    if len(scope) > LONGEST_SCOPE or (scope and not _SCOPE.match(scope)):
        raise GrantError("invalid_scope", "AADSTS70011: The scope is malformed.")
    named = [one for one in scope.split() if one.lower() not in USER_SCOPES]
    if len(named) > 1:
        raise GrantError("invalid_scope", "AADSTS28000: The scopes belong to more than one resource.")
    audience = _bare(named[0]) if named else (resource or default)
    if audience not in known:
        raise GrantError("invalid_scope", f"AADSTS500011: There is no resource {audience[:200]!a} here.")
    return audience


def _bare(scope: str) -> str:
    for suffix in (DEFAULT_SUFFIX, "/user_impersonation"):
        if scope.endswith(suffix):
            return scope.removesuffix(suffix)
    return scope
