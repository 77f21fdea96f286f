"""Endpoint sets: Arcgate.Network/endpointSets, targets of a tenant's own that gateways can name like features."""

from typing import Any

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.endpoint import Call
from arcgate.control.arm.fields import Body, ReadOnly, ResourceBody
from arcgate.control.arm.policy_resources import LONGEST_DESCRIPTION, PolicyResource
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.store.models import EndpointSetRow
from arcgate.core.errors import InputError
from arcgate.core.patterns import parse_pattern
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE

MOST_ENDPOINTS = 5000


class EndpointSetProperties(Body):
    """What clients may write of an endpoint set."""

    endpoints: list[str] | None = Field(None, max_length=MOST_ENDPOINTS)
    allowPrivate: bool | None = None  # noqa: N815 - wire name
    description: str | None = Field(None, max_length=LONGEST_DESCRIPTION)
    provisioningState: ReadOnly = None  # noqa: N815


class EndpointSetBody(ResourceBody):
    """The body of PUT."""

    properties: EndpointSetProperties


async def _columns(_session: AsyncSession, call: Call, body: EndpointSetBody, is_new: bool) -> dict[str, Any]:
    if is_new:
        refuse_known_name(call, call.parameters["name"])
    return {
        "endpoints": _endpoints(body.properties.endpoints),
        "allow_private": bool(body.properties.allowPrivate),
        "description": body.properties.description or "",
    }


def refuse_known_name(call: Call, name: str) -> None:
    """Refuse names of features and scenarios; raises ApiError 400 (InvalidResourceName)."""
    if name.lower() in {known.lower() for known in call.context.catalogue.names}:
        text = f"There is a feature or scenario named {name!r}; an endpoint set needs a name of its own."
        raise ApiError(400, "InvalidResourceName", text)


def _endpoints(given: list[str] | None) -> list[str]:
    if not given:
        text = "An endpoint set needs at least one endpoint."
        raise ApiError(400, "InvalidRequestContent", text, target="properties.endpoints")
    try:
        return list(dict.fromkeys(parse_pattern(text).text for text in given))
    except InputError as error:
        raise refuse_input(error, "InvalidEndpoint", "properties.endpoints") from None


def _properties(row: EndpointSetRow) -> dict[str, Any]:
    return {"endpoints": row.endpoints, "allowPrivate": row.allow_private, "description": row.description}


ENDPOINT_SETS = PolicyResource(
    model=EndpointSetRow,
    resource_type=ENDPOINT_SET_TYPE,
    what="endpoint set",
    body=EndpointSetBody,
    columns=_columns,
    properties=_properties,
)
routes = ENDPOINT_SETS.routes
