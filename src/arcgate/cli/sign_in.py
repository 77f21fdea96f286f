"""OAuth 2.0 from the client's side: discovery, device codes, client credentials, refresh."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from arcgate.cli.failures import ApiFailure
from arcgate.cli.profile import Tokens
from arcgate.core.errors import InputError, StateError
from arcgate.core.urls import parse_url
from arcgate.net.http_client import Answer, HttpClient

PUBLIC_CLIENT = "arcgate-cli"
"""The client id that command lines sign in with; it has no secret."""

LONGEST_WAIT = 3600.0
"""Seconds that a device code is polled for, whatever the server says."""


@dataclass(frozen=True, slots=True)
class CloudEndpoints:
    """What the cloud's metadata says: where to sign in, for whom, and the tenant it names."""

    login: str
    audience: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """The endpoints of one tenant's OpenID Connect document."""

    token: str
    device: str


async def discover_cloud(client: HttpClient, endpoint: str) -> CloudEndpoints:
    """Return what `GET /metadata/endpoints` says; raises HopError or StateError."""
    answer = await client.request_json("GET", f"{endpoint}/metadata/endpoints?api-version=2022-09-01")
    document = _require_document(answer, endpoint)
    authentication = document.get("authentication") or {}
    try:
        login = _https(str(authentication["loginEndpoint"]))
        audience = str(authentication["audiences"][0])
    except (KeyError, IndexError, TypeError, InputError):
        raise _not_ours(endpoint) from None
    return CloudEndpoints(login, audience, str(authentication.get("tenant") or ""))


async def discover_issuer(client: HttpClient, login: str, tenant: str) -> Issuer:
    """Return the endpoints of a tenant (a GUID, a domain or `organizations`); raises ApiFailure for an unknown one."""
    url = f"{login}/{quote(tenant, safe='')}/v2.0/.well-known/openid-configuration"
    document = _require_document(await client.request_json("GET", url), login)
    try:
        return Issuer(_https(str(document["token_endpoint"])), str(document.get("device_authorization_endpoint") or ""))
    except (KeyError, InputError):
        raise _not_ours(login) from None


async def sign_in_with_secret(
    client: HttpClient, issuer: Issuer, audience: str, client_id: str, secret: str, now: float
) -> Tokens:
    """Return the tokens of a service principal; raises ApiFailure when it is refused."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    document = await _ask(client, issuer.token, {**form, "scope": f"{audience}/.default"})
    return _tokens(document, now, client_id=client_id, client_secret=secret)


async def refresh(client: HttpClient, issuer: Issuer, audience: str, tokens: Tokens, now: float) -> Tokens:
    """Return fresh tokens for expired ones; raises ApiFailure when they can't be renewed."""
    if tokens.client_secret:
        return await sign_in_with_secret(client, issuer, audience, tokens.client_id, tokens.client_secret, now)
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token, "client_id": tokens.client_id}
    document = await _ask(client, issuer.token, {**form, "scope": _user_scope(audience)})
    document.setdefault("refresh_token", tokens.refresh_token)
    return _tokens(document, now, client_id=tokens.client_id)


async def sign_in_with_device_code(
    client: HttpClient,
    issuer: Issuer,
    audience: str,
    announce: Callable[[str, str], None],
    clock: Callable[[], float],
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Tokens:
    """Return a user's tokens, once the code that `announce` (message, code) has told of is approved.

    Raises ApiFailure when it is declined or has expired.
    """
    device = _https(issuer.device)
    started = await _ask(client, device, {"client_id": PUBLIC_CLIENT, "scope": _user_scope(audience)})
    announce(str(started.get("message") or ""), str(started.get("user_code") or ""))
    interval = max(0.1, min(60.0, _number(started, "interval", 5)))
    deadline = clock() + min(LONGEST_WAIT, _number(started, "expires_in", 900))
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": str(started.get("device_code") or ""),
        "client_id": PUBLIC_CLIENT,
    }
    while clock() < deadline:
        await wait(interval)
        try:
            return _tokens(await _ask(client, issuer.token, form), clock(), client_id=PUBLIC_CLIENT)
        except ApiFailure as error:
            if error.code == "slow_down":
                interval += 5
            elif error.code != "authorization_pending":
                raise
    raise ApiFailure(400, "expired_token", "The code was not approved in time. Log in again.")


def _user_scope(audience: str) -> str:
    return f"{audience}/.default offline_access openid profile"


def _number(document: Mapping[str, Any], key: str, default: float) -> float:
    value = document.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


async def _ask(client: HttpClient, url: str, form: Mapping[str, str]) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    answer = await client.request("POST", url, headers=headers, body=urlencode(form).encode())
    document = answer.json()
    if answer.is_success and isinstance(document, dict):
        return document
    raise to_failure(answer)


def _tokens(document: Mapping[str, Any], now: float, *, client_id: str, client_secret: str = "") -> Tokens:
    access = document.get("access_token")
    if not isinstance(access, str) or not access:
        raise StateError("LOGIN_FAILED", "The login service's answer holds no token.")
    return Tokens(
        access,
        now + _number(document, "expires_in", 300),
        "" if client_secret else str(document.get("refresh_token") or ""),
        client_id,
        client_secret,
    )


def to_failure(answer: Answer) -> ApiFailure:
    """Return what an answer that is no success says, in ARM's form or in OAuth's."""
    document = answer.json()
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return ApiFailure(answer.status, str(error.get("code") or answer.status), str(error.get("message") or ""))
    if isinstance(error, str):
        return ApiFailure(answer.status, error, str(document.get("error_description") or ""))
    return ApiFailure(answer.status, f"HTTP{answer.status}", "The control plane did not say why.")


def _require_document(answer: Answer, where: str) -> dict[str, Any]:
    document = answer.json()
    if not answer.is_success and isinstance(document, dict) and document.get("error"):
        raise to_failure(answer)
    if not answer.is_success or not isinstance(document, dict):
        raise _not_ours(where)
    return document


def _https(text: str) -> str:
    url = parse_url(text)
    if not url.is_tls:
        raise InputError("URL_INVALID", f"{url} is not https.", remedy="Tokens and secrets travel by https only.")
    return text.rstrip("/")


def _not_ours(where: str) -> StateError:
    return StateError(
        "NOT_A_CLOUD",
        f"{where} does not answer like a resource manager.",
        remedy="Check the endpoint; it is https://management.<domain>.",
    )
