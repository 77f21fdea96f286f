"""Stand-ins of sign-in by a client secret, and of a key vault that challenges whoever brings no token for it."""

import json

from worlds.vendor.exchange import NOT_FOUND, Answer, Request, answer_json

TENANT = "7f3f5b0e-1111-4222-8333-444455556666"
SIGN_IN = "login.microsoftonline.com"
CLIENT_SECRET = "not-so-secret"
_TOKENS = {"https://vault.azure.net/.default": "token-for-vaults"}

secrets: dict[str, str] = {}
"""What the vault holds, by the name of the secret."""


def sign_in(request: Request) -> Answer:
    """Tell the issuer's addresses, and give tokens for vaults to who knows the client secret."""
    base = f"https://{SIGN_IN}/{TENANT}"
    if request.path.endswith("/.well-known/openid-configuration"):
        facts = {"issuer": f"{base}/v2.0", "token_endpoint": f"{base}/oauth2/v2.0/token"}
        return answer_json({**facts, "authorization_endpoint": f"{base}/oauth2/v2.0/authorize"})
    if request.method != "POST" or request.path != f"/{TENANT}/oauth2/v2.0/token":
        return NOT_FOUND
    form = request.form
    if form.get("client_secret") != CLIENT_SECRET:
        return answer_json({"error": "invalid_client"}, 401)
    scope = next((one for one in form.get("scope", "").split() if one in _TOKENS), "")
    if not scope:
        return answer_json({"error": "invalid_scope"}, 400)
    return answer_json({"token_type": "Bearer", "expires_in": 3600, "access_token": _TOKENS[scope]})


def vault(request: Request) -> Answer:
    """Set and get secrets; without a token for vaults, say where there are some."""
    if request.bearer not in _TOKENS.values():
        where = f'Bearer authorization="https://{SIGN_IN}/{TENANT}", resource="https://vault.azure.net"'
        return answer_json({"error": {"code": "Unauthorized"}}, 401, WWW_Authenticate=where)
    _, _, name = request.path.strip("/").partition("/")
    name = name.partition("/")[0]
    if request.method == "PUT":
        secrets[name] = json.loads(request.content)["value"]
    if name not in secrets:
        return answer_json({"error": {"code": "SecretNotFound", "message": name}}, 404)
    identity = f"https://{request.host}/secrets/{name}/0123456789abcdef0123456789abcdef"
    return answer_json({"value": secrets[name], "id": identity, "attributes": {"enabled": True}})
