"""Finds rows by the names in a path, or refuses in ARM's words."""

from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.paging import visible
from arcgate.control.failures import ApiError
from arcgate.control.store.models import EndpointSetRow, GatewayRow, MachineGroupRow, MachineRow, ResourceGroup

ResourceRow = TypeVar("ResourceRow", GatewayRow, MachineRow, EndpointSetRow, MachineGroupRow)


def group_key(call: Call) -> str:
    """Return the key of the path's resource group."""
    return f"/subscriptions/{call.subscription_id}/resourcegroups/{call.parameters['group'].lower()}"


def resource_key(call: Call, resource_type: str) -> str:
    """Return the key of the path's resource."""
    return f"{group_key(call)}/providers/{resource_type.lower()}/{call.parameters['name'].lower()}"


async def require_group(session: AsyncSession, call: Call) -> ResourceGroup:
    """Return the path's resource group; raises ApiError 404 (ResourceGroupNotFound)."""
    group = await session.get(ResourceGroup, group_key(call))
    if group is None:
        name = call.parameters["group"]
        raise ApiError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    return group


async def find(session: AsyncSession, call: Call, model: type[ResourceRow], resource_type: str) -> ResourceRow | None:
    """Return the path's resource, or None."""
    statement = select(model).where(model.key == resource_key(call, resource_type))
    return (await session.execute(statement)).scalar_one_or_none()


async def require(session: AsyncSession, call: Call, model: type[ResourceRow], resource_type: str) -> ResourceRow:
    """Return the path's resource; raises ApiError 404 (ResourceNotFound or ResourceGroupNotFound)."""
    group = await require_group(session, call)
    row = await find(session, call, model, resource_type)
    if row is None:
        what = f"{resource_type}/{call.parameters['name']}"
        text = f"The Resource '{what}' under resource group '{group.name}' was not found."
        raise ApiError(404, "ResourceNotFound", text)
    return row


async def listing(call: Call, session: AsyncSession, model: type[ResourceRow], action: str) -> Select[ResourceRow]:
    """Return the statement that lists what the caller may see of a type, in the path's group or subscription."""
    statement: Select[ResourceRow] = select(model).where(model.subscription_id == call.subscription_id)
    scope = f"/subscriptions/{call.subscription_id}"
    if "group" in call.parameters:
        scope = group_key(call)
        if not call.caller.knows(scope):
            call.require(action, scope)
        await require_group(session, call)
        statement = statement.where(model.group_key == scope)
    condition = visible(call, action, model.key, scope)
    return statement if condition is None else statement.where(condition)
