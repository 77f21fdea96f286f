"""Tenants, subscriptions and locations, as the caller sees them."""

from typing import Any

from sqlalchemy import select
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import location_title
from arcgate.control.arm.versions import RESOURCES
from arcgate.control.context import ControlContext
from arcgate.control.store.models import Subscription, Tenant


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of tenants, subscriptions and locations."""
    return [
        arm_route(context, "/tenants", {"GET": Verb("", _tenants)}, RESOURCES),
        arm_route(context, "/subscriptions", {"GET": Verb("", _subscriptions)}, RESOURCES),
        arm_route(context, "/subscriptions/{subscription}", {"GET": Verb("", _subscription)}, RESOURCES),
        arm_route(context, "/subscriptions/{subscription}/locations", {"GET": Verb("", _locations)}, RESOURCES),
    ]


async def _tenants(call: Call) -> Response:
    async with call.context.store.read() as session:
        tenant = await session.get_one(Tenant, call.caller.tenant_id)
    return JSONResponse({"value": [_render_tenant(tenant)]})


def _render_tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": f"/tenants/{tenant.id}",
        "tenantId": tenant.id,
        "displayName": tenant.display_name,
        "defaultDomain": tenant.domain,
        "domains": [tenant.domain],
        "tenantCategory": "Home",
        "tenantType": "AAD",
    }


async def _subscriptions(call: Call) -> Response:
    statement = select(Subscription).where(Subscription.tenant_id == call.caller.tenant_id).order_by(Subscription.id)
    async with call.context.store.read() as session:
        rows = (await session.execute(statement)).scalars().all()
    return JSONResponse({"value": [_render(row) for row in rows if call.caller.knows(f"/subscriptions/{row.id}")]})


async def _subscription(call: Call) -> Response:
    async with call.context.store.read() as session:
        return JSONResponse(_render(await session.get_one(Subscription, call.subscription_id)))


def _render(row: Subscription) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{row.id}",
        "subscriptionId": row.id,
        "tenantId": row.tenant_id,
        "displayName": row.display_name,
        "state": "Enabled",
        "managedByTenants": [],
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"locationPlacementId": "Public", "quotaId": "Arcgate", "spendingLimit": "Off"},
    }


async def _locations(call: Call) -> Response:
    return JSONResponse({"value": [_location(call, name) for name in call.context.configuration.cloud.regions]})


def _location(call: Call, name: str) -> dict[str, Any]:
    title = location_title(name)
    return {
        "id": f"/subscriptions/{call.subscription_id}/locations/{name}",
        "name": name,
        "displayName": title,
        "regionalDisplayName": title,
        "type": "Region",
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended", "pairedRegion": []},
    }
