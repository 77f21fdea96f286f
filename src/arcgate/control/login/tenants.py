"""The tenant in a sign-in path: a GUID, a domain, or a word for whichever tenant the account is of."""

from sqlalchemy import or_, select

from arcgate.control.context import ControlContext
from arcgate.control.login.failures import GrantError
from arcgate.control.store.models import Tenant

ADFS = "adfs"
"""Stands in a path for an issuer that has no tenants of its own."""
ANY_TENANT = frozenset({"organizations", "common", ADFS})


async def resolve_tenant(context: ControlContext, text: str) -> str | None:
    """Return the tenant's id, None for any tenant; raises GrantError (invalid_request) when there is none."""
    wanted = text.lower()
    if wanted in ANY_TENANT:
        return None
    statement = select(Tenant.id).where(or_(Tenant.id == wanted, Tenant.domain == wanted))
    async with context.store.read() as session:
        found = (await session.execute(statement)).scalar_one_or_none()
    if found is None:
        raise GrantError("invalid_request", f"AADSTS90002: Tenant {text[:100]!a} not found.")
    return found


async def default_tenant(context: ControlContext) -> str:
    """Return the tenant of the first start, which the words for any tenant stand for in documents."""
    statement = select(Tenant.id).order_by(Tenant.is_default.desc(), Tenant.id).limit(1)
    async with context.store.read() as session:
        return (await session.execute(statement)).scalar_one()
