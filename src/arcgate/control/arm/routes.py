"""All routes of the ARM-compatible API."""

from starlette.routing import BaseRoute

from arcgate.control.arm import (
    endpoint_sets,
    extensions,
    external_principals,
    gateways,
    groups,
    incoming,
    machine_groups,
    machines,
    metadata,
    onboarding_scripts,
    operations,
    principals,
    providers,
    role_assignments,
    settings,
    subscriptions,
)
from arcgate.control.context import ControlContext


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of the ARM-compatible API."""
    parts = (
        metadata,
        operations,
        gateways,
        settings,
        extensions,
        incoming,
        machines,
        endpoint_sets,
        machine_groups,
        principals,
        external_principals,
        onboarding_scripts,
        groups,
        role_assignments,
        providers,
        subscriptions,
    )
    return [route for part in parts for route in part.routes(context)]
