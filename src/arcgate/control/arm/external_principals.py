"""Users and groups of the issuer outside, with the roles that they have here: the other half of identity.issuer."""

import uuid
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.caller import external_login
from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body
from arcgate.control.arm.principals import (
    READ_ASSIGNMENTS,
    UNASSIGN,
    require_scope,
    require_tenant,
    role_named,
    roles_of,
    scope_of,
)
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.incoming import ACCESS
from arcgate.control.login.external import LONGEST_SUBJECT
from arcgate.control.store.models import Principal, RoleAssignment

KINDS = {"User": "ExternalUser", "Group": "ExternalGroup"}


class ExternalPrincipalBody(Body):
    """The body of POST externalPrincipals; `subject` is the value of the subject or groups claim."""

    kind: Literal["User", "Group"]
    subject: str = Field(min_length=1, max_length=LONGEST_SUBJECT)
    displayName: str = Field(min_length=1, max_length=120)  # noqa: N815 - wire name
    role: str = Field(min_length=1, max_length=300)
    scope: str = Field(min_length=1, max_length=400)


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of external principals."""
    path = "/tenants/{tenant}/providers/Arcgate.Network/externalPrincipals"
    verbs = {"GET": Verb("", _list), "POST": Verb("", _create, ExternalPrincipalBody)}
    return [
        arm_route(context, path, verbs, ARCGATE),
        arm_route(context, f"{path}/{{principal}}", {"DELETE": Verb("", _delete)}, ARCGATE),
    ]


async def _create(call: Call) -> Response:
    require_tenant(call)
    body = await call.body(ExternalPrincipalBody)
    role, scope = role_named(body.role), scope_of(body.scope)
    login = external_login(body.kind, body.subject)
    now = call.context.clock()
    async with call.context.store.write() as transaction:
        session = transaction.session
        await require_scope(session, call, scope)
        if (await session.execute(select(Principal.id).where(Principal.login == login))).first() is not None:
            remedy = "Give it further roles by Microsoft.Authorization/roleAssignments."
            raise ApiError(409, "PrincipalExists", "The principal is registered already.", remedy=remedy)
        row = Principal(
            id=str(uuid.uuid4()),
            tenant_id=call.caller.tenant_id,
            kind=KINDS[body.kind],
            login=login,
            display_name=body.displayName,
            secret_hash="",
            certificate="",
            is_enabled=True,
            created_at=now,
        )
        session.add(row)
        await session.flush()
        session.add(
            RoleAssignment(
                id=str(uuid.uuid4()),
                tenant_id=row.tenant_id,
                principal_id=row.id,
                role_id=role.id,
                scope=scope,
                created_at=now,
            )
        )
    return JSONResponse(_render(row, [(role.name, scope)]), 201)


async def _list(call: Call) -> Response:
    require_tenant(call)
    async with call.context.store.read() as session:
        rows = (await session.execute(_all(call).order_by(Principal.created_at, Principal.id))).scalars().all()
        listed = [(row, await roles_of(session, row)) for row in rows]
    shown = [
        _render(row, roles)
        for row, roles in listed
        if any(call.caller.permits(READ_ASSIGNMENTS, scope) for _, scope in roles or [("", "/")])
    ]
    return JSONResponse({"value": shown})


async def _delete(call: Call) -> Response:
    require_tenant(call)
    async with call.context.store.write() as transaction:
        row = await _find(transaction.session, call)
        if row is not None:
            for _, scope in await roles_of(transaction.session, row) or [("", "/")]:
                call.require(UNASSIGN, scope)
            await transaction.session.delete(row)
            transaction.announce(ACCESS)
    return Response(status_code=204)


async def _find(session: AsyncSession, call: Call) -> Principal | None:
    statement = _all(call).where(Principal.id == call.parameters["principal"].lower())
    return (await session.execute(statement)).scalar_one_or_none()


def _all(call: Call) -> Any:
    tenant = Principal.tenant_id == call.caller.tenant_id
    return select(Principal).where(tenant, Principal.kind.in_(KINDS.values()))


def _render(row: Principal, roles: list[tuple[str, str]]) -> dict[str, Any]:
    kind = next(kind for kind, kept in KINDS.items() if kept == row.kind)
    return {
        "id": row.id,
        "kind": kind,
        "subject": row.login.removeprefix(external_login(kind, "")),
        "displayName": row.display_name,
        "tenantId": row.tenant_id,
        "createdAt": row.created_at.isoformat(),
        "roles": [{"role": role, "scope": scope} for role, scope in roles],
    }
