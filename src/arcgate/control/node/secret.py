"""The node secret: one file that the control plane and its gateway nodes share."""

import hmac
import re
import secrets
from pathlib import Path

from starlette.requests import Request

from arcgate.control.failures import ApiError
from arcgate.control.store.sealing import write_private_file
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError

_SECRET = re.compile(r"[!-~]{32,512}\Z")
_BEARER = re.compile(r"Bearer +(?P<secret>[!-~]{1,512})\Z", re.IGNORECASE)


def secret_path(configuration: Configuration) -> Path:
    """Return where the node secret is kept."""
    return configuration.gateway.node_secret_file or configuration.state_dir / "secrets" / "node.secret"


def load_node_secret(configuration: Configuration) -> str:
    """Return the node secret, which is made at the first start; raises StateError (NODE_SECRET_INVALID)."""
    path = secret_path(configuration)
    try:
        if configuration.gateway.node_secret_file is None and not path.exists():
            write_private_file(path, secrets.token_urlsafe(32) + "\n", replace=False)
        is_open = path.stat().st_mode & 0o077
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise _invalid(path, str(error), "Copy it from the control plane's host.") from None
    if is_open:
        raise _invalid(path, "others can read it", "Run chmod 600 on it.")
    if not _SECRET.match(text):
        raise _invalid(path, "it must hold 32 to 512 printable characters", "Remove it to have a new one made.")
    return text


def require_node(request: Request, secret: str) -> None:
    """Raise ApiError 401 unless the request carries the node secret; takes the same time for every wrong one."""
    fields = request.headers.getlist("authorization")
    match = _BEARER.match(fields[0]) if len(fields) == 1 else None
    given = match["secret"] if match else ""
    if not hmac.compare_digest(given.encode(), secret.encode()):
        raise ApiError(
            401,
            "NodeSecretInvalid",
            "The node secret is missing or wrong.",
            remedy="Copy secrets/node.secret from the control plane to the gateway host.",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _invalid(path: Path, cause: str, remedy: str) -> StateError:
    return StateError("NODE_SECRET_INVALID", f"The node secret {path} can't be used.", cause=cause, remedy=remedy)
