"""ARM resource ids: parsed once, compared without case, printed in ARM's own casing."""

import re
from dataclasses import dataclass

from arcgate.core.errors import InputError
from arcgate.core.guids import GUID

_NAME = r"[A-Za-z0-9_.()-]{1,90}"
_RESOURCE_ID = re.compile(
    rf"/subscriptions/(?P<subscription>{GUID})/resourceGroups/(?P<group>{_NAME})"
    rf"/providers/(?P<namespace>[A-Za-z0-9.]{{1,80}})/(?P<type>[A-Za-z]{{1,80}})/(?P<name>{_NAME})\Z",
    re.IGNORECASE | re.ASCII,  # without ASCII, the long s and the Kelvin sign are letters too
)

GATEWAY_TYPE = "Microsoft.HybridCompute/gateways"
MACHINE_TYPE = "Microsoft.HybridCompute/machines"
EXTENSION_TYPE = "Microsoft.HybridCompute/machines/extensions"
PRIVATE_LINK_SCOPE_TYPE = "Microsoft.HybridCompute/privateLinkScopes"
SETTINGS_TYPE = "Microsoft.HybridCompute/settings"
ENDPOINT_SET_TYPE = "Arcgate.Network/endpointSets"
MACHINE_GROUP_TYPE = "Arcgate.Network/machineGroups"


@dataclass(frozen=True, slots=True)
class ResourceId:
    """The id of a resource directly in a resource group; `type` holds namespace and type name."""

    subscription_id: str
    resource_group: str
    type: str
    name: str

    def __str__(self) -> str:
        group = f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/{self.type}/{self.name}"

    @property
    def key(self) -> str:
        """The id in lower case: two ids name the same resource exactly when their keys are equal."""
        return str(self).lower()


def parse_resource_id(text: str, expected_type: str) -> ResourceId:
    """Return the id that `text` spells; raises InputError (RESOURCE_ID_INVALID) unless it is of the type."""
    match = _RESOURCE_ID.match(text)
    if match is None or ".." in (match["group"], match["name"]) or match["group"].endswith("."):
        raise _invalid(text, expected_type, "it hasn't the form of a resource id")
    found = f"{match['namespace']}/{match['type']}"
    if found.lower() != expected_type.lower():
        raise _invalid(text, expected_type, f"it is the id of a {found}")
    return ResourceId(match["subscription"].lower(), match["group"], expected_type, match["name"])


def _invalid(text: str, expected_type: str, cause: str) -> InputError:
    return InputError(
        "RESOURCE_ID_INVALID",
        f"{text[:200]!a} is not the id of a {expected_type}.",
        cause=cause,
        remedy=f"Give /subscriptions/GUID/resourceGroups/GROUP/providers/{expected_type}/NAME, as 'show' prints it.",
    )
