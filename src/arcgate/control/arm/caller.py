"""Who calls the ARM API: the principal of a verified access token, with the roles that it has now."""

import re
import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from arcgate.control.arm.roles import OWNER, Assignment, find_role, permits, permits_data, touches
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.login.external import Outsider
from arcgate.control.store.models import Principal, RoleAssignment, Tenant
from arcgate.core.audit import printable
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
    is_external: bool = False
    """Whether another issuer than ours signed the caller in."""
    holders: tuple[str, ...] = ()
    """The principals whose assignments these are: its own, and those of its groups."""

    def permits(self, action: str, scope: str) -> bool:
        """Say whether the caller may do the action at the scope."""
        return permits(self.assignments, action, scope)

    def knows(self, scope: str) -> bool:
        """Say whether the caller has any role at, above or below the scope."""
        return touches(self.assignments, scope)

    def permits_data(self, action: str, scope: str) -> bool:
        """Say whether the caller may do the data action at the scope."""
        return permits_data(self.assignments, action, scope)

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
        if context.external is not None and context.external.issued(match["token"]):
            return await load_outsider(context, await context.external.verify(match["token"]))
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
    return Caller(
        principal.id, tenant_id, principal.login, principal.kind, client_id, assignments, holders=(principal.id,)
    )


async def load_outsider(context: ControlContext, outsider: Outsider) -> Caller:
    """Return the caller that an issuer outside vouches for, with the roles of its principal and its groups here.

    One that nobody has registered has no roles, so there is nothing that it gets to see.
    """
    user, groups = external_login("User", outsider.subject), [external_login("Group", one) for one in outsider.groups]
    async with context.store.read() as session:
        tenant_id = (await session.execute(select(Tenant.id).order_by(Tenant.id).limit(1))).scalar_one()
        found = await session.execute(select(Principal).where(Principal.login.in_([user, *groups])))
        rows = {row.login: row for row in found.scalars() if row.is_enabled}
        assigned = select(RoleAssignment).where(RoleAssignment.principal_id.in_([row.id for row in rows.values()]))
        roles = [(find_role(row.role_id), row.scope) for row in (await session.execute(assigned)).scalars()]
    assignments = [Assignment(role, scope) for role, scope in roles if role is not None]
    if set(outsider.groups) & set(context.configuration.identity.owner_groups):
        assignments.append(Assignment(OWNER, "/"))
    row = rows.get(user)
    issuer = context.configuration.identity.issuer
    principal_id = row.id if row is not None else str(uuid.uuid5(uuid.NAMESPACE_URL, f"{issuer} {outsider.subject}"))
    kind = "ServicePrincipal" if outsider.is_application else "User"
    name = printable(row.display_name if row is not None else outsider.subject, 200)
    holders = tuple(row.id for row in rows.values())
    return Caller(
        principal_id, tenant_id, name, kind, outsider.client_id, tuple(assignments), is_external=True, holders=holders
    )


def external_login(kind: str, subject: str) -> str:
    """Return the login under which a user or group of the issuer outside is kept; no login of ours has a blank."""
    return f"external {kind.lower()} {subject}"


def _unauthorized(context: ControlContext, code: str, text: str) -> ApiError:
    authority = context.configuration.url_of(f"login.{context.configuration.cloud.domain}")
    challenge = f'Bearer authorization_uri="{authority}/common", error="invalid_token", error_description="{text}"'
    return ApiError(401, code, text, headers={"WWW-Authenticate": challenge})
