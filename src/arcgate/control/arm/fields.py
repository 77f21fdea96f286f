"""Fields that several resources share: names, locations, tags and the model that their bodies build on. Pure."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from arcgate.control.failures import ApiError
from arcgate.core.configuration import Configuration

_RESOURCE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,90}\Z")
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.()-]{1,90}\Z")
_TAG_KEY = re.compile(r"[^<>%&\\?/\x00-\x1f\x7f]{1,512}\Z")
MOST_TAGS = 50
LONGEST_TAG_VALUE = 256

LOCATION_TITLES = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus": "West US",
    "westus2": "West US 2",
    "westus3": "West US 3",
    "centralus": "Central US",
    "northeurope": "North Europe",
    "westeurope": "West Europe",
    "uksouth": "UK South",
    "germanywestcentral": "Germany West Central",
    "switzerlandnorth": "Switzerland North",
    "southeastasia": "Southeast Asia",
    "japaneast": "Japan East",
    "australiaeast": "Australia East",
}


def _tags(tags: dict[str, str] | None) -> dict[str, str] | None:
    if tags is None:
        return None
    if len(tags) > MOST_TAGS:
        raise ValueError(f"a resource has at most {MOST_TAGS} tags")
    if len({key.lower() for key in tags}) != len(tags):
        raise ValueError("names of tags must differ in more than their case")
    for key, value in tags.items():
        if not _TAG_KEY.match(key):
            raise ValueError("a tag's name has 1 to 512 characters, none of <>%&\\?/")
        if len(value) > LONGEST_TAG_VALUE:
            raise ValueError(f"a tag's value has at most {LONGEST_TAG_VALUE} characters")
    return tags


Tags = Annotated[dict[str, str] | None, AfterValidator(_tags)]
ReadOnly = Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})]
"""A field that clients send back as they got it; what they send is not looked at."""


class Body(BaseModel):
    """A part of a request body: types are not converted, unknown properties are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ResourceBody(Body):
    """The envelope of every tracked resource."""

    location: str | None = None
    tags: Tags = None
    id: ReadOnly = None
    name: ReadOnly = None
    type: ReadOnly = None
    etag: ReadOnly = None
    systemData: ReadOnly = None  # noqa: N815 - the key's name on the wire
    resourceGroup: ReadOnly = None  # noqa: N815 - the CLI adds it to what it shows, and scripts send it back


def require_name(name: str, kind: str) -> str:
    """Return the name of a resource to be made; raises ApiError 400 (InvalidResourceName)."""
    pattern = _GROUP_NAME if kind == "resource group" else _RESOURCE_NAME
    if not pattern.match(name) or name.endswith(".") or name.startswith("."):
        raise ApiError(
            400,
            "InvalidResourceName",
            f"The {kind} name {name[:100]!a} is not valid.",
            remedy="A name has 1 to 90 letters, digits, '-', '_' and '.', and neither begins nor ends with '.'.",
        )
    return name


def require_location(given: str | None, configuration: Configuration, existing: str | None = None) -> str:
    """Return the location in its short form; raises ApiError 400, or 409 when a resource would have to move."""
    location = "".join((given or "").lower().split())
    if not location and existing is not None:
        return existing
    if not location:
        raise ApiError(400, "LocationRequired", "The location property is required for this definition.")
    if existing is not None and location != existing:
        raise ApiError(
            409, "InvalidResourceLocation", f"The resource already exists in location '{existing}'.", target="location"
        )
    if location not in configuration.cloud.regions:
        known = ", ".join(configuration.cloud.regions)
        text = f"The provided location {location[:60]!a} is not available."
        raise ApiError(
            400, "LocationNotAvailableForResourceType", text, remedy=f"Choose one of: {known}.", target="location"
        )
    return location


def location_title(location: str) -> str:
    """Return the name of a location for people."""
    return LOCATION_TITLES.get(location, location)
