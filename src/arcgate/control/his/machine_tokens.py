"""Access tokens of machines' own identities, for this cloud's API and for whatever else verifies our tokens."""

import re
from typing import Any

from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.his.issuing import require_not_revoked
from arcgate.control.store.models import MachineRow, Principal

LONGEST_RESOURCE = 512
"""Characters of an audience."""

# Other forms stay with others: bare GUIDs are the audiences of ID tokens, plain words those of assertions.
_RESOURCE = re.compile(
    r"(?:https|api)://[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})(?::[0-9]{1,5})?(?:/[!#-;=?-\[\]_a-z~]*)?\Z"
)


async def issue_token(context: ControlContext, machine: MachineRow, document: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with an access token for the document's `resource`; raises ApiError 400 or 403."""
    resource = read_resource(document.get("resource"))
    async with context.store.read() as session:
        await require_not_revoked(session, machine)
        principal = await session.get(Principal, machine.principal_id)
    if principal is None or not principal.is_enabled:
        raise ApiError(403, "IdentityDisabled", "The machine's identity is disabled.", remedy="Connect it anew.")
    configuration = context.configuration
    # Always the same issuer: who verifies these tokens elsewhere must not depend on the name that the machine used.
    base = configuration.url_of(f"login.{configuration.cloud.domain}")
    lifetime = int(configuration.control.access_token_lifetime)
    now = int(context.clock().timestamp())
    return {
        "access_token": await context.tokens.access_token(base, principal, resource, principal.login),
        "expires_in": lifetime,
        "expires_on": now + lifetime,
        "resource": resource,
        "token_type": "Bearer",
    }


def read_resource(resource: Any) -> str:
    """Return the audience as it was given; raises ApiError 400 (InvalidResource)."""
    if not isinstance(resource, str) or len(resource) > LONGEST_RESOURCE or not _RESOURCE.match(resource):
        raise ApiError(
            400,
            "InvalidResource",
            "The value of 'resource' must be an https:// or api:// URI.",
            remedy="Give the audience of the service that the token is for, such as https://management.azure.com/.",
            target="resource",
        )
    return resource
