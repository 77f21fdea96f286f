"""A stand-in for an OpenID Connect issuer outside: its two documents over real TLS, and tokens of any kind."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worlds.authority import Authority
from worlds.tls_server import free_socket, served

AUDIENCE = "api://arcgate"


@dataclass
class OidcIssuer:
    """The issuer; `keys` are those that it publishes, `asked` the paths that were asked for."""

    url: str
    keys: list[RSAKey] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, answers wait."""

    def new_key(self, *, published: bool = True) -> RSAKey:
        """Make a key, and publish it."""
        key = RSAKey.generate_key(2048, {"kid": f"key-{len(self.keys)}-{published}"}, private=True)
        if published:
            self.keys.append(key)
        return key

    def token(self, key: RSAKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return an access token of the person "ann"; claims of None are left out."""
        signer = key or self.keys[-1]
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "nbf": now, "azp": "portal"}
        content = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        fields = {"alg": "RS256", "kid": signer.kid, **(header or {})}
        return jwt.encode(fields, content, signer, algorithms=["RS256", "PS256", "HS256"])

    async def describe(self, request: Request) -> Response:
        """Answer the discovery document."""
        self.asked.append(request.url.path)
        await self.answering.wait()
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.overrides}
        return JSONResponse(document, self.status)

    async def publish(self, request: Request) -> Response:
        """Answer the keys, one of an unknown kind among them."""
        self.asked.append(request.url.path)
        keys = [{**key.as_dict(private=False), "use": "sig"} for key in self.keys]
        return JSONResponse({"keys": [{"kty": "unheard-of", "kid": "x"}, *keys]}, self.status)


@asynccontextmanager
async def oidc_issuer(authority: Authority) -> AsyncIterator[OidcIssuer]:
    """Yield an issuer with one key, below a path as Keycloak's are."""
    chain, key = authority.issue("localhost")
    listening = free_socket()
    issuer = OidcIssuer(f"https://localhost:{listening.getsockname()[1]}/realms/servers")
    issuer.new_key()
    issuer.answering.set()
    place = "/realms/servers"
    app = Starlette(
        routes=[
            Route(f"{place}/.well-known/openid-configuration", issuer.describe),
            Route(f"{place}/keys", issuer.publish),
        ]
    )
    async with served(app, listening, chain, key):
        yield issuer
