"""Who calls the ARM API: the principal of a verified access token, with the roles that it has now."""

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from arcgate.control.arm.roles import Assignment, find_role, permits, touches
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.store.models import Principal, RoleAssignment
from arcgate.core.errors import InputError

_BEARER = re.compile(r"Bearer +(?P<token>[!-~]+) *\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal with its assignments; permissions are those of this moment, not of the sign-in."""

    principal_id: str
    tenant_id: str
    name: str
    kind: str
    client_id: str
    assignments: tuple[Assignment, ...]

    def permits(self, action: str, scope: str) -> bool:
        """Say whether the caller may do the action at the scope."""
        return permits(self.assignments, action, scope)

    def knows(self, scope: str) -> bool:
        """Say whether the caller has any role at, above or below the scope."""
        return touches(self.assignments, scope)

    def require(self, action: str, scope: str) -> None:
        """Raise ApiError 403 (AuthorizationFailed) unless the caller may do the action at the scope."""
        if not self.permits(action, scope):
            raise ApiError(
                403,
                "AuthorizationFailed",
                f"The client '{self.name}' with object id '{self.principal_id}' does not have authorization to perform "
                f"action '{action}' over scope '{scope}' or the scope is invalid.",
                remedy="If access was recently granted, please refresh your credentials.",
            )

    @property
    def created_by_type(self) -> str:
        """The caller's kind in the words of systemData."""
        return "User" if self.kind == "User" else "Application"


async def authenticate(request: Request, context: ControlContext) -> Caller:
    """Return the caller of the request; raises ApiError 401 with a challenge."""
    fields = request.headers.getlist("authorization")
    if not fields:
        raise _unauthorized(context, "AuthenticationFailed", "The 'Authorization' header is missing.")
    match = _BEARER.match(fields[0]) if len(fields) == 1 else None
    if match is None:
        raise _unauthorized(context, "AuthenticationFailed", "The 'Authorization' header is malformed.")
    try:
        claims = await context.tokens.verify(match["token"])
    except InputError as error:
        text = f"{error.sentence.rstrip('.')}: {error.cause}."
        raise _unauthorized(context, "InvalidAuthenticationToken", text) from None
    async with context.store.read() as session:
        caller = await load_caller(session, claims.principal_id, claims.tenant_id, claims.client_id)
    if caller is None:
        text = "The principal of the access token does not exist any more."
        raise _unauthorized(context, "InvalidAuthenticationToken", text)
    return caller


async def load_caller(session: AsyncSession, principal_id: str, tenant_id: str, client_id: str) -> Caller | None:
    """Return the caller behind a principal, or None when it is gone, disabled or of another tenant."""
    principal = await session.get(Principal, principal_id)
    if principal is None or not principal.is_enabled or principal.tenant_id != tenant_id:
        return None
    rows = await session.execute(select(RoleAssignment).where(RoleAssignment.principal_id == principal_id))
    assignments = tuple(
        Assignment(role, row.scope) for row in rows.scalars() if (role := find_role(row.role_id)) is not None
    )
    return Caller(principal.id, tenant_id, principal.login, principal.kind, client_id, assignments)


def _unauthorized(context: ControlContext, code: str, text: str) -> ApiError:
    authority = context.configuration.url_of(f"login.{context.configuration.cloud.domain}")
    challenge = f'Bearer authorization_uri="{authority}/common", error="invalid_token", error_description="{text}"'
    return ApiError(401, code, text, headers={"WWW-Authenticate": challenge})
