"""Role assignments and role definitions: Microsoft.Authorization, at subscriptions and all that lies below."""

import re
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import Body, ReadOnly
from arcgate.control.arm.roles import BUILT_IN, Role, find_role, is_within
from arcgate.control.arm.versions import AUTHORIZATION
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.incoming import ACCESS
from arcgate.control.store.models import Principal, RoleAssignment
from arcgate.core.guids import is_guid

READ, WRITE, DELETE = (f"Microsoft.Authorization/roleAssignments/{verb}" for verb in ("read", "write", "delete"))

_PRINCIPAL_FILTER = re.compile(
    r"\s*(?:principalId\s+eq|assignedTo\()\s*'(?P<id>[0-9a-fA-F-]{36})'\)?\s*\Z", re.IGNORECASE
)
_PLACES = (
    "/subscriptions/{subscription}",
    "/subscriptions/{subscription}/resourceGroups/{group}",
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/{namespace}/{kind}/{name}",
)


class AssignmentProperties(Body):
    """Who gets which role."""

    roleDefinitionId: str  # noqa: N815 - wire name
    principalId: str  # noqa: N815
    principalType: str | None = None  # noqa: N815
    scope: ReadOnly = None
    description: ReadOnly = None
    condition: None = None
    conditionVersion: ReadOnly = None  # noqa: N815


class AssignmentBody(Body):
    """The body of PUT."""

    properties: AssignmentProperties
    id: ReadOnly = None
    name: ReadOnly = None
    type: ReadOnly = None


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of role assignments and definitions."""
    verbs = {"GET": Verb(READ, _get), "PUT": Verb(WRITE, _put, AssignmentBody), "DELETE": Verb(DELETE, _delete)}
    made: list[BaseRoute] = []
    for place in _PLACES:
        provider = f"{place}/providers/Microsoft.Authorization"
        made += [
            arm_route(context, f"{provider}/roleAssignments/{{assignment}}", verbs, AUTHORIZATION),
            arm_route(
                context, f"{provider}/roleAssignments", {"GET": Verb(READ, _list, query=("$filter",))}, AUTHORIZATION
            ),
            arm_route(
                context,
                f"{provider}/roleDefinitions",
                {"GET": Verb("", _definitions, query=("$filter",))},
                AUTHORIZATION,
            ),
            arm_route(context, f"{provider}/roleDefinitions/{{role}}", {"GET": Verb("", _definition)}, AUTHORIZATION),
        ]
    return made


def _scope(call: Call) -> str:
    return call.scope.rpartition("/providers/microsoft.authorization/")[0]


async def _get(call: Call) -> Response:
    async with call.context.store.read() as session:
        row = await _find(session, call)
        if row is None:
            raise ApiError(404, "RoleAssignmentNotFound", "The role assignment could not be found.")
        return JSONResponse(_render(row))


async def _list(call: Call) -> Response:
    statement = select(RoleAssignment).where(RoleAssignment.tenant_id == call.caller.tenant_id)
    if text := call.option("$filter"):
        match = _PRINCIPAL_FILTER.match(text)
        if match is not None:
            statement = statement.where(RoleAssignment.principal_id == match["id"].lower())
        elif text.replace(" ", "").lower() != "atscope()":
            raise ApiError(400, "InvalidFilterInQueryString", "The $filter is not supported.")
    scope = _scope(call)
    async with call.context.store.read() as session:
        rows = (await session.execute(statement.order_by(RoleAssignment.id))).scalars().all()
    near = [row for row in rows if is_within(scope, row.scope) or is_within(row.scope, scope)]
    return JSONResponse({"value": [_render(row) for row in near]})


async def _put(call: Call) -> Response:
    body = await call.body(AssignmentBody)
    name = call.parameters["assignment"].lower()
    if not is_guid(name):
        raise ApiError(400, "InvalidRoleAssignmentId", "The name of a role assignment is a GUID.")
    role = find_role(body.properties.roleDefinitionId)
    if role is None:
        raise ApiError(400, "RoleDefinitionDoesNotExist", "The specified role definition does not exist.")
    async with call.context.store.write() as transaction:
        session = transaction.session
        principal = await session.get(Principal, body.properties.principalId.lower())
        if principal is None or principal.tenant_id != call.caller.tenant_id:
            raise ApiError(400, "PrincipalNotFound", "The principal does not exist in the tenant.")
        if await session.get(RoleAssignment, name) is not None or await _same(session, principal, role, _scope(call)):
            raise ApiError(409, "RoleAssignmentExists", "The role assignment already exists.")
        row = RoleAssignment(
            id=name,
            tenant_id=call.caller.tenant_id,
            principal_id=principal.id,
            role_id=role.id,
            scope=_scope(call),
            created_at=call.context.clock(),
        )
        session.add(row)
    return JSONResponse(_render(row), 201)


async def _delete(call: Call) -> Response:
    async with call.context.store.write() as transaction:
        row = await _find(transaction.session, call)
        if row is None:
            return Response(status_code=204)
        await transaction.session.delete(row)
        transaction.announce(ACCESS)
    return JSONResponse(_render(row))


async def _find(session: AsyncSession, call: Call) -> RoleAssignment | None:
    row = await session.get(RoleAssignment, call.parameters["assignment"].lower())
    # The path is what the caller's permission was checked for: an assignment elsewhere is not there.
    if row is None or row.tenant_id != call.caller.tenant_id or row.scope != _scope(call):
        return None
    return row


async def _same(session: AsyncSession, principal: Principal, role: Role, scope: str) -> bool:
    statement = select(RoleAssignment.id).where(
        RoleAssignment.principal_id == principal.id, RoleAssignment.role_id == role.id, RoleAssignment.scope == scope
    )
    return (await session.execute(statement)).first() is not None


async def _definitions(call: Call) -> Response:
    wanted = re.search(r"roleName eq '([^']{1,100})'", call.option("$filter"), re.IGNORECASE)
    roles = [role for role in BUILT_IN if wanted is None or role.name.lower() == wanted[1].lower()]
    return JSONResponse({"value": [_render_role(call, role) for role in roles]})


async def _definition(call: Call) -> Response:
    role = find_role(call.parameters["role"])
    if role is None:
        raise ApiError(404, "RoleDefinitionDoesNotExist", "The specified role definition does not exist.")
    return JSONResponse(_render_role(call, role))


def _render(row: RoleAssignment) -> dict[str, Any]:
    prefix = row.scope.rstrip("/")
    subscription = "/".join(row.scope.split("/")[:3]) if row.scope != "/" else ""
    return {
        "id": f"{prefix}/providers/Microsoft.Authorization/roleAssignments/{row.id}",
        "name": row.id,
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {
            "roleDefinitionId": f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{row.role_id}",
            "principalId": row.principal_id,
            "scope": row.scope,
            "createdOn": row.created_at.isoformat(),
        },
    }


def _render_role(call: Call, role: Role) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{call.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/{role.id}",
        "name": role.id,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole",
            "description": role.description,
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": list(role.actions),
                    "notActions": list(role.not_actions),
                    "dataActions": list(role.data_actions),
                    "notDataActions": [],
                }
            ],
        },
    }
