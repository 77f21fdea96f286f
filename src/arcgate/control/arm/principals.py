"""Service principals, and the approval of device codes: the identity side of Arcgate.Network."""

import re
import uuid
from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body
from arcgate.control.arm.roles import BUILT_IN, Role, find_role
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.incoming import ACCESS
from arcgate.control.login.assertions import read_client_certificate, thumbprint
from arcgate.control.login.codes import approve_code, normal_code
from arcgate.control.login.secrets import hash_secret, new_secret
from arcgate.control.store.models import Principal, RoleAssignment, Subscription
from arcgate.core.errors import InputError
from arcgate.core.guids import LOWER_GUID

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
UNASSIGN = "Microsoft.Authorization/roleAssignments/delete"
READ_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments/read"

LONGEST_CERTIFICATE = 16 * 1024
"""Characters of a certificate in PEM form."""

_SCOPE = re.compile(rf"(?:/|/subscriptions/(?P<subscription>{LOWER_GUID})" + r"(?:/[a-z0-9_.()-]{1,90}){0,12})\Z")


class ServicePrincipalBody(Body):
    """The body of POST servicePrincipals."""

    displayName: str = Field(min_length=1, max_length=120)  # noqa: N815 - wire name
    role: str = Field(min_length=1, max_length=300)
    scope: str = Field(min_length=1, max_length=400)
    certificate: str | None = Field(None, max_length=LONGEST_CERTIFICATE)
    """PEM of the certificate whose key signs in; with it there is no secret."""


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of service principals and device codes."""
    provider = "/tenants/{tenant}/providers/Arcgate.Network"
    principals = f"{provider}/servicePrincipals"
    approve = f"{provider}/deviceCodes/{{code}}/approve"
    return [
        arm_route(
            context, principals, {"GET": Verb("", _list), "POST": Verb("", _create, ServicePrincipalBody)}, ARCGATE
        ),
        arm_route(context, f"{principals}/{{client}}", {"DELETE": Verb("", _delete)}, ARCGATE),
        arm_route(context, approve, {"POST": Verb("", _approve)}, ARCGATE),
    ]


def require_tenant(call: Call) -> None:
    """Raise ApiError 404 unless the path's tenant is the caller's."""
    if call.parameters["tenant"].lower() != call.caller.tenant_id:
        raise ApiError(404, "TenantNotFound", f"The tenant {call.parameters['tenant'][:60]!a} could not be found.")


async def _create(call: Call) -> Response:
    require_tenant(call)
    body = await call.body(ServicePrincipalBody)
    role, scope = role_named(body.role), scope_of(body.scope)
    certificate = _certificate(body.certificate, call.context.clock())
    secret = "" if certificate else new_secret()
    now = call.context.clock()
    async with call.context.store.write() as transaction:
        await require_scope(transaction.session, call, scope)
        principal = Principal(
            id=str(uuid.uuid4()),
            tenant_id=call.caller.tenant_id,
            kind="ServicePrincipal",
            login=str(uuid.uuid4()),
            display_name=body.displayName,
            secret_hash=hash_secret(secret) if secret else "",
            certificate=certificate,
            is_enabled=True,
            created_at=now,
        )
        transaction.session.add(principal)
        await transaction.session.flush()
        transaction.session.add(
            RoleAssignment(
                id=str(uuid.uuid4()),
                tenant_id=call.caller.tenant_id,
                principal_id=principal.id,
                role_id=role.id,
                scope=scope,
                created_at=now,
            )
        )
    shown = _render(principal, [(role.name, scope)])
    return JSONResponse({**shown, "clientSecret": secret} if secret else shown, 201)


async def _list(call: Call) -> Response:
    require_tenant(call)
    statement = (
        select(Principal)
        .where(Principal.tenant_id == call.caller.tenant_id, Principal.kind == "ServicePrincipal")
        .order_by(Principal.created_at, Principal.id)
    )
    async with call.context.store.read() as session:
        principals = (await session.execute(statement)).scalars().all()
        shown = []
        for principal in principals:
            roles = await roles_of(session, principal)
            if any(call.caller.permits(READ_ASSIGNMENTS, scope) for _, scope in roles or [("", "/")]):
                shown.append(_render(principal, roles))
    return JSONResponse({"value": shown})


async def _delete(call: Call) -> Response:
    require_tenant(call)
    async with call.context.store.write() as transaction:
        principal = await _find(transaction.session, call)
        if principal is None:
            return Response(status_code=204)
        roles = await roles_of(transaction.session, principal)
        for _, scope in roles or [("", "/")]:
            call.require(UNASSIGN, scope)
        await transaction.session.delete(principal)
        transaction.announce(ACCESS)
    return Response(status_code=204)


async def _approve(call: Call) -> Response:
    require_tenant(call)
    if call.caller.is_external:
        text = "A code signs somebody in with the embedded issuer, which you are not signed in with."
        raise ApiError(403, "AuthorizationFailed", text)
    code = normal_code(call.parameters["code"])
    now, key = call.context.clock(), f"code:{call.caller.principal_id}"
    if not call.context.throttle.allows(now, key):
        raise ApiError(429, "TooManyRequests", "Too many wrong codes.", remedy="Wait.", headers={"Retry-After": "60"})
    state = await approve_code(call.context, code, call.caller.principal_id, call.caller.tenant_id)
    if not state:
        call.context.throttle.failed(now, key)
        raise ApiError(
            404,
            "DeviceCodeNotFound",
            "There is no pending device code of this spelling.",
            remedy="Codes expire and are good once; start the sign-in again for a new one.",
        )
    return JSONResponse({"userCode": code, "state": "approved"})


async def _find(session: AsyncSession, call: Call) -> Principal | None:
    wanted = call.parameters["client"].lower()
    statement = select(Principal).where(
        Principal.login == wanted,
        Principal.tenant_id == call.caller.tenant_id,
        Principal.kind == "ServicePrincipal",
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def roles_of(session: AsyncSession, principal: Principal) -> list[tuple[str, str]]:
    """Return names and scopes of the roles that a principal has."""
    rows = await session.execute(select(RoleAssignment).where(RoleAssignment.principal_id == principal.id))
    found = [(find_role(row.role_id), row.scope) for row in rows.scalars()]
    return [(role.name, scope) for role, scope in found if role is not None]


async def require_scope(session: AsyncSession, call: Call, scope: str) -> None:
    """Raise ApiError 404 or 403 unless the caller may give roles at the scope."""
    match = _SCOPE.match(scope)
    subscription_id = match["subscription"] if match else None
    if subscription_id is not None:
        row = await session.get(Subscription, subscription_id)
        if row is None or row.tenant_id != call.caller.tenant_id or not call.caller.knows(f"/subscriptions/{row.id}"):
            raise ApiError(404, "SubscriptionNotFound", f"The subscription '{subscription_id}' could not be found.")
    call.require(ASSIGN, scope)


def role_named(text: str) -> Role:
    """Return the role of that name or id; raises ApiError 400 (RoleDefinitionDoesNotExist)."""
    role = find_role(text)
    if role is None:
        known = ", ".join(one.name for one in BUILT_IN)
        text = f"There is no role {text[:80]!a}."
        raise ApiError(400, "RoleDefinitionDoesNotExist", text, remedy=f"Use one of: {known}.", target="role")
    return role


def scope_of(text: str) -> str:
    """Return the scope in lower case; raises ApiError 400 (InvalidScope)."""
    scope = text.lower().rstrip("/") or "/"
    if not _SCOPE.match(scope):
        raise ApiError(
            400,
            "InvalidScope",
            f"The scope {text[:80]!a} is malformed.",
            remedy="Write /, or /subscriptions/GUID, with /resourceGroups/NAME behind it for less.",
            target="scope",
        )
    return scope


def _certificate(text: str | None, now: datetime) -> str:
    """Return the certificate as it is kept, empty for none; raises ApiError 400 (InvalidCertificate)."""
    if text is None:
        return ""
    try:
        return read_client_certificate(text, now)
    except InputError as error:
        raise refuse_input(error, "InvalidCertificate", "certificate") from None


def _render(principal: Principal, roles: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "id": principal.id,
        "clientId": principal.login,
        "displayName": principal.display_name,
        "tenantId": principal.tenant_id,
        "createdAt": principal.created_at.isoformat(),
        "certificateThumbprint": thumbprint(principal.certificate) if principal.certificate else None,
        "roles": [{"role": role, "scope": scope} for role, scope in roles],
    }
