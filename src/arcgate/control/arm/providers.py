"""Resource providers, always registered, and the operations that they know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.fields import location_title
from arcgate.control.arm.versions import ARCGATE, AUTHORIZATION, HYBRID_COMPUTE, RESOURCES
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError


@dataclass(frozen=True, slots=True)
class Provider:
    """A namespace with its resource types and api-versions, newest first."""

    namespace: str
    types: tuple[str, ...]
    versions: Sequence[str]


_ALL = (
    Provider(
        "Microsoft.HybridCompute",
        (
            "machines",
            "machines/extensions",
            "gateways",
            "settings",
            "locations",
            "locations/operationStatus",
            "locations/operationResults",
            "operations",
        ),
        HYBRID_COMPUTE,
    ),
    Provider(
        "Arcgate.Network",
        (
            "endpointSets",
            "machineGroups",
            "auditRecords",
            "openTunnels",
            "servicePrincipals",
            "externalPrincipals",
            "deviceCodes",
            "generateOnboardingScript",
        ),
        ARCGATE,
    ),
    Provider(
        "Microsoft.Resources", ("tenants", "subscriptions", "resourceGroups", "locations", "operations"), RESOURCES
    ),
    Provider("Microsoft.Authorization", ("roleAssignments", "roleDefinitions"), AUTHORIZATION),
    # Onboarding scripts register these; nothing of theirs is served here.
    Provider("Microsoft.GuestConfiguration", (), HYBRID_COMPUTE),
    Provider("Microsoft.HybridConnectivity", (), HYBRID_COMPUTE),
    Provider("Microsoft.AzureArcData", (), HYBRID_COMPUTE),
    Provider("Microsoft.Compute", (), HYBRID_COMPUTE),
)
PROVIDERS: Mapping[str, Provider] = {provider.namespace.lower(): provider for provider in _ALL}

_OPERATIONS = (
    ("operations", "read", "List the operations of the provider"),
    ("gateways", "read", "Read gateways"),
    ("gateways", "write", "Create and change gateways"),
    ("gateways", "delete", "Delete gateways"),
    ("settings", "read", "Read a machine's association with a gateway"),
    ("settings", "write", "Associate a machine with a gateway, or detach it"),
    ("machines", "read", "Read machines"),
    ("machines", "write", "Create and change machines"),
    ("machines", "delete", "Delete machines"),
    ("machines/extensions", "read", "Read extensions of machines"),
    ("machines/extensions", "write", "Create and change extensions of machines"),
    ("machines/extensions", "delete", "Delete extensions of machines"),
)


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of providers."""
    under = "/subscriptions/{subscription}/providers"
    operations = {"GET": Verb("", _operations)}
    return [
        arm_route(context, "/providers/Microsoft.HybridCompute/operations", operations),
        arm_route(context, "/providers", {"GET": Verb("", _list)}, RESOURCES),
        arm_route(context, "/providers/{namespace}", {"GET": Verb("", _get)}, RESOURCES),
        arm_route(context, under, {"GET": Verb("", _list)}, RESOURCES),
        arm_route(context, f"{under}/{{namespace}}", {"GET": Verb("", _get)}, RESOURCES),
        arm_route(context, f"{under}/{{namespace}}/register", {"POST": Verb("", _get)}, RESOURCES),
    ]


async def _list(call: Call) -> Response:
    return JSONResponse({"value": [_render(call, provider) for provider in PROVIDERS.values()]})


async def _get(call: Call) -> Response:
    name = call.parameters["namespace"]
    provider = PROVIDERS.get(name.lower())
    if provider is None:
        text = f"The resource namespace {name[:90]!a} is invalid."
        raise ApiError(404, "InvalidResourceNamespace", text)
    return JSONResponse(_render(call, provider))


def _render(call: Call, provider: Provider) -> dict[str, Any]:
    locations = [location_title(name) for name in call.context.configuration.cloud.regions]
    prefix = f"/subscriptions/{call.subscription_id}" if "subscription" in call.parameters else ""
    return {
        "id": f"{prefix}/providers/{provider.namespace}",
        "namespace": provider.namespace,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationFree",
        "resourceTypes": [
            {
                "resourceType": name,
                "locations": locations,
                "apiVersions": list(provider.versions),
                "defaultApiVersion": next(one for one in provider.versions if not one.endswith("-preview")),
                "capabilities": "SupportsTags, SupportsLocation" if name in ("gateways", "machines") else "None",
            }
            for name in provider.types
        ],
    }


async def _operations(_call: Call) -> Response:
    return JSONResponse(
        {
            "value": [
                {
                    "name": f"Microsoft.HybridCompute/{kind}/{verb}",
                    "isDataAction": False,
                    "origin": "user,system",
                    "display": {
                        "provider": "Microsoft.HybridCompute",
                        "resource": kind,
                        "operation": f"{verb} {kind}",
                        "description": text,
                    },
                }
                for kind, verb, text in _OPERATIONS
            ]
        }
    )
