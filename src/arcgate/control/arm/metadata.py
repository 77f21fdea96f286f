"""What clients ask before they sign in: the cloud's endpoints, as `az cloud register` reads them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.context import ControlContext
from arcgate.control.login.tenants import default_tenant
from arcgate.control.paths import CaselessRoute
from arcgate.control.urls import base_url


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of the cloud's description, which need no sign-in."""

    async def endpoints(request: Request) -> Response:
        return JSONResponse(await _cloud(request, context))

    async def clouds(request: Request) -> Response:
        return JSONResponse([await _cloud(request, context)])

    return [
        CaselessRoute("/metadata/endpoints", endpoints, methods=["GET"]),
        CaselessRoute("/metadata/clouds", clouds, methods=["GET"]),
    ]


async def _cloud(request: Request, context: ControlContext) -> dict[str, Any]:
    tenant = await default_tenant(context)
    cloud, url_of = context.configuration.cloud, context.configuration.url_of
    identity = context.configuration.identity
    base = base_url(request, context.configuration)
    # Neither URL ends in a slash: clients put "/TENANT" behind the login endpoint as it is.
    is_domain_name = base.startswith(f"https://management.{cloud.domain}")
    return {
        "name": cloud.name,
        "resourceManager": base,
        "portal": base,
        "authentication": {
            "loginEndpoint": identity.login_endpoint or (url_of(f"login.{cloud.domain}") if is_domain_name else base),
            "audiences": [identity.audience if identity.login_endpoint else f"{base}/"],
            "tenant": tenant,
            "identityProvider": "AAD",
        },
        "suffixes": {"arcGateway": context.configuration.gateway_suffix.removeprefix(".")},
    }
