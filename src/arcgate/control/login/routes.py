"""Routes of sign-in: /{tenant}/oauth2/v2.0/… in the style of the public cloud's issuer, and /devicelogin.

The same under /adfs/oauth2/…, the style of an on-premises issuer: clients trust an authority of that path as it
is, where they would look another one up at the public cloud first.
"""

from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.bodies import read_body
from arcgate.control.context import ControlContext
from arcgate.control.login import device_page
from arcgate.control.login.audiences import audience_of
from arcgate.control.login.codes import INTERVAL, begin, shown_code
from arcgate.control.login.failures import GrantError
from arcgate.control.login.forms import client_address, read_form
from arcgate.control.login.grants import LARGEST_FORM, answer_token
from arcgate.control.login.tenants import ADFS, default_tenant, resolve_tenant
from arcgate.control.paths import CaselessRoute
from arcgate.control.urls import base_url


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes of sign-in."""
    service = _Issuer(context)
    style = files(__package__).joinpath("templates", "style.css").read_text(encoding="utf-8")

    async def stylesheet(_request: Request) -> Response:
        return Response(style, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

    published = [
        CaselessRoute("/{tenant}/v2.0/.well-known/openid-configuration", service.describe, methods=["GET"]),
        CaselessRoute("/{tenant}/.well-known/openid-configuration", service.describe, methods=["GET"]),
        CaselessRoute("/{tenant}/discovery/v2.0/keys", service.publish_keys, methods=["GET"]),
        CaselessRoute("/{tenant}/discovery/keys", service.publish_keys, methods=["GET"]),
    ]
    if not context.configuration.identity.embedded:
        return [*published]
    return [
        *published,
        CaselessRoute("/devicelogin", device_page.endpoint(context), methods=["GET", "POST"]),
        CaselessRoute("/devicelogin/style.css", stylesheet, methods=["GET"]),
        CaselessRoute("/{tenant}/oauth2/v2.0/token", service.grant, methods=["POST"]),
        CaselessRoute("/{tenant}/oauth2/token", service.grant, methods=["POST"]),
        CaselessRoute("/{tenant}/oauth2/v2.0/devicecode", service.begin_device, methods=["POST"]),
        CaselessRoute("/{tenant}/oauth2/v2.0/logout", service.log_out, methods=["GET", "POST"]),
        CaselessRoute("/{tenant}/oauth2/devicecode", service.begin_device, methods=["POST"]),
        CaselessRoute("/{tenant}/oauth2/logout", service.log_out, methods=["GET", "POST"]),
    ]


class _Issuer:
    """The issuer's endpoints."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context

    async def describe(self, request: Request) -> Response:
        """Answer the OpenID Connect discovery document of the path's tenant."""
        try:
            tenant = await resolve_tenant(self._context, request.path_params["tenant"])
        except GrantError as error:
            return error.to_response()
        tenant_id = tenant or await default_tenant(self._context)
        return JSONResponse(self._document(base_url(request, self._context.configuration), tenant_id, request))

    def _document(self, base: str, tenant_id: str, request: Request) -> dict[str, Any]:
        given = request.path_params["tenant"]
        here = f"{base}/{given}"
        version = "" if given.lower() == ADFS else "/v2.0"
        return {
            # Clients read the tenant's id out of the issuer.
            "issuer": self._context.tokens.issuer(base, tenant_id),
            "authorization_endpoint": f"{here}/oauth2{version}/authorize",
            "token_endpoint": f"{here}/oauth2{version}/token",
            "device_authorization_endpoint": f"{here}/oauth2{version}/devicecode",
            "end_session_endpoint": f"{here}/oauth2{version}/logout",
            "jwks_uri": f"{here}/discovery{version}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
            "grant_types_supported": [
                "client_credentials",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "scopes_supported": ["openid", "profile", "offline_access"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "preferred_username", "name"],
        }

    async def publish_keys(self, _request: Request) -> Response:
        """Answer the public keys that our tokens are verified with."""
        return JSONResponse(await self._context.tokens.public_keys())

    async def grant(self, request: Request) -> Response:
        """Answer a token request."""
        return await answer_token(request, self._context)

    async def begin_device(self, request: Request) -> Response:
        """Answer a device authorization request (RFC 8628 section 3.1)."""
        try:
            return await self._begin_device(request)
        except GrantError as error:
            return error.to_response()

    async def _begin_device(self, request: Request) -> Response:
        context, address = self._context, client_address(request)
        form = read_form(await read_body(request, LARGEST_FORM))
        tenant_id = await resolve_tenant(context, request.path_params["tenant"])
        client_id, scope = form.get("client_id", ""), form.get("scope", "")
        if not client_id or len(client_id) > 100:
            raise GrantError("invalid_request", "AADSTS900144: The request body must contain 'client_id'.")
        base = base_url(request, context.configuration)
        audience = audience_of(scope, form.get("resource", ""), context.tokens.audiences(), f"{base}/")
        made = await begin(context, tenant_id, client_id, audience, scope, address)
        uri, code = f"{base}/devicelogin", shown_code(made.user_code)
        return JSONResponse(
            {
                "user_code": code,
                "device_code": made.device_code,
                "verification_uri": uri,
                "expires_in": int(context.configuration.control.device_code_lifetime),
                "interval": INTERVAL,
                "message": f"To sign in, open {uri} in a browser on any device and enter the code {code}.",
            }
        )

    async def log_out(self, _request: Request) -> Response:
        """Answer a log-out: tokens live in the client, which has dropped them."""
        return Response("You are signed out.\n", media_type="text/plain")
