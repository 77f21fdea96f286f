"""The token endpoint: client credentials, device codes and refresh tokens become access tokens."""

import base64
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from arcgate.control.bodies import read_body
from arcgate.control.context import ControlContext
from arcgate.control.login.assertions import verify_client_assertion
from arcgate.control.login.audiences import audience_of
from arcgate.control.login.codes import redeem
from arcgate.control.login.failures import GrantError
from arcgate.control.login.forms import address_limit, client_address, read_form
from arcgate.control.login.secrets import digest, is_secret, new_secret
from arcgate.control.login.tenants import resolve_tenant
from arcgate.control.store.models import Principal, RefreshToken
from arcgate.control.urls import base_url

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REFRESH_DAYS = 90
"""Days that a refresh token is good for when it is not used."""
REUSE_GRACE = 30
"""Seconds in which a used refresh token works again: commands that run side by side share one."""
LARGEST_FORM = 64 * 1024


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted to whom."""

    principal: Principal
    client_id: str
    audience: str
    scope: str
    family: str = ""
    """Of the refresh token that this continues."""


async def answer_token(request: Request, context: ControlContext) -> Response:
    """Answer POST /{tenant}/oauth2/v2.0/token."""
    try:
        form = read_form(await read_body(request, LARGEST_FORM))
        tenant_id = await resolve_tenant(context, request.path_params["tenant"])
        grant_type = form.get("grant_type", "")
        if grant_type == "client_credentials":
            grant = await _client_credentials(request, context, form, tenant_id)
            return await _answer(request, context, grant, is_user=False)
        if grant_type == DEVICE_GRANT:
            grant = await _device_code(context, form, tenant_id)
        elif grant_type == "refresh_token":
            grant = await _refresh(request, context, form, tenant_id)
        else:
            raise GrantError("unsupported_grant_type", "AADSTS70003: The grant type is not supported.")
        return await _answer(request, context, grant, is_user=True)
    except GrantError as error:
        return error.to_response()


async def _client_credentials(
    request: Request, context: ControlContext, form: dict[str, str], tenant_id: str | None
) -> Grant:
    client_id = form.get("client_id", "").lower()
    address, now, throttle = client_address(request), context.clock(), context.throttle
    by_client, by_address = f"client:{client_id[:100]}", f"address:{address}"
    may_try = throttle.allows(now, by_client) and throttle.allows(now, by_address, address_limit(address))
    if not may_try:
        raise GrantError("temporarily_unavailable", "AADSTS50196: Too many failed sign-ins; wait.", status=429)
    principal = await _find_client(context, client_id, tenant_id)
    if not await _is_authentic(request, context, form, principal) or principal is None:
        throttle.failed(now, by_client, by_address)
        text = "AADSTS7000215: Invalid client secret provided, or there is no such client in this tenant."
        raise GrantError("invalid_client", text, status=401)
    throttle.succeeded(by_client)
    return Grant(principal, client_id, _audience(request, context, form), form.get("scope", ""))


async def _find_client(context: ControlContext, client_id: str, tenant_id: str | None) -> Principal | None:
    statement = select(Principal).where(
        Principal.login == client_id, Principal.kind == "ServicePrincipal", Principal.is_enabled.is_(True)
    )
    async with context.store.read() as session:
        found = (await session.execute(statement)).scalar_one_or_none()
    return found if found is not None and tenant_id in (None, found.tenant_id) else None


async def _is_authentic(
    request: Request, context: ControlContext, form: dict[str, str], principal: Principal | None
) -> bool:
    if form.get("client_assertion_type") == ASSERTION_TYPE:
        if principal is None or not principal.certificate:
            return False
        endpoint = f"{base_url(request, context.configuration)}{request.url.path}"
        return verify_client_assertion(
            form.get("client_assertion", ""), principal.certificate, principal.login, endpoint, context.clock()
        )
    return await is_secret(principal.secret_hash if principal is not None else None, form.get("client_secret", ""))


async def _device_code(context: ControlContext, form: dict[str, str], tenant_id: str | None) -> Grant:
    code = form.get("device_code") or form.get("code") or ""
    client_id = _client_id(form)
    row = await redeem(context, code, client_id)
    principal = await _enabled(context, row.principal_id, tenant_id)
    return Grant(principal, client_id, row.audience, row.scope)


async def _refresh(request: Request, context: ControlContext, form: dict[str, str], tenant_id: str | None) -> Grant:
    now = context.clock()
    invalid = GrantError("invalid_grant", "AADSTS700082: The refresh token is unknown, used or expired; sign in again.")
    async with context.store.write() as transaction:
        row = await transaction.session.get(RefreshToken, digest(form.get("refresh_token", "")))
        if row is None or row.expires_at <= now or row.client_id != _client_id(form):
            raise invalid
        replayed = row.used_at is not None and now - row.used_at > timedelta(seconds=REUSE_GRACE)
        if replayed:
            await transaction.session.execute(delete(RefreshToken).where(RefreshToken.family == row.family))
        elif row.used_at is None:
            row.used_at = now
    if replayed:
        raise invalid
    principal = await _enabled(context, row.principal_id, tenant_id)
    audience = _audience(request, context, form, row.audience)
    return Grant(principal, row.client_id, audience, form.get("scope") or row.scope, row.family)


async def _enabled(context: ControlContext, principal_id: str | None, tenant_id: str | None) -> Principal:
    async with context.store.read() as session:
        principal = await session.get(Principal, principal_id) if principal_id is not None else None
    if principal is None or not principal.is_enabled or tenant_id not in (None, principal.tenant_id):
        raise GrantError("invalid_grant", "AADSTS50034: The account does not exist in this tenant.")
    return principal


def _audience(request: Request, context: ControlContext, form: dict[str, str], default: str = "") -> str:
    fallback = default or f"{base_url(request, context.configuration)}/"
    return audience_of(form.get("scope", ""), form.get("resource", ""), context.tokens.audiences(), fallback)


def _client_id(form: dict[str, str]) -> str:
    client_id = form.get("client_id", "")
    if not client_id or len(client_id) > 100:
        raise GrantError("invalid_request", "AADSTS900144: The request body must contain 'client_id'.")
    return client_id


async def _answer(request: Request, context: ControlContext, grant: Grant, *, is_user: bool) -> Response:
    base = base_url(request, context.configuration)
    lifetime = int(context.configuration.control.access_token_lifetime)
    document: dict[str, Any] = {
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": await context.tokens.access_token(base, grant.principal, grant.audience, grant.client_id),
    }
    if is_user:
        document |= {
            "scope": grant.scope,
            "refresh_token": await _new_refresh_token(context, grant),
            "id_token": await context.tokens.id_token(base, grant.principal, grant.client_id),
            "client_info": _client_info(grant.principal),
        }
    return JSONResponse(document, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


async def _new_refresh_token(context: ControlContext, grant: Grant) -> str:
    token, now = new_secret(), context.clock()
    async with context.store.write() as transaction:
        await transaction.session.execute(delete(RefreshToken).where(RefreshToken.expires_at < now))
        transaction.session.add(
            RefreshToken(
                token_hash=digest(token),
                family=grant.family or str(uuid.uuid4()),
                principal_id=grant.principal.id,
                client_id=grant.client_id,
                audience=grant.audience,
                scope=grant.scope,
                expires_at=now + timedelta(days=REFRESH_DAYS),
                used_at=None,
            )
        )
    return token


def _client_info(principal: Principal) -> str:
    document = json.dumps({"uid": principal.id, "utid": principal.tenant_id})
    return base64.urlsafe_b64encode(document.encode()).decode("ascii").rstrip("=")
