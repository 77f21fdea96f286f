"""The resource manager's requests that the agent makes: subscription, resource group, machine, gateway association."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from arcgate.agent.http import ServiceRefusal, require_success
from arcgate.core.resource_ids import MACHINE_TYPE, SETTINGS_TYPE, ResourceId
from arcgate.core.urls import parse_url
from arcgate.net.http_client import Answer, HttpClient

MACHINES = "2024-07-10"
SETTINGS = "2025-01-13"
SUBSCRIPTIONS = "2022-12-01"
GROUPS = "2024-11-01"
AUDIT = "2026-11-01"
"""api-versions."""

AUDIT_PAGE = 1000
"""Records of one answer."""

DELETE_TIMEOUT = 60
"""Seconds."""


def machine_resource(subscription_id: str, group: str, name: str) -> ResourceId:
    """Return the id of a machine."""
    return ResourceId(subscription_id, group, MACHINE_TYPE, name)


@dataclass(frozen=True, slots=True)
class ResourceManager:
    """The resource manager as one caller sees it. Every method raises HopError or ServiceRefusal."""

    http: HttpClient
    base: str
    token: str
    correlation_id: str = ""

    async def subscription_named(self, name: str) -> str | None:
        """Return the id of the subscription of that display name (any case), None when there isn't exactly one."""
        document = require_success(await self._send("GET", "/subscriptions", SUBSCRIPTIONS))
        found = [
            one["subscriptionId"]
            for one in document.get("value", ())
            if isinstance(one, dict)
            and str(one.get("displayName")).lower() == name.lower()
            and isinstance(one.get("subscriptionId"), str)
        ]
        return str(found[0]) if len(found) == 1 else None

    async def create_group(self, subscription_id: str, group: str, location: str) -> None:
        """Create the resource group."""
        require_success(await self._send("PUT", _group(subscription_id, group), GROUPS, {"location": location}))

    async def machine(self, resource: ResourceId) -> dict[str, Any] | None:
        """Return the machine resource, None when there is none."""
        answer = await self._send("GET", _path(resource), MACHINES)
        if answer.status == 404:
            return None
        return require_success(answer)

    async def put_machine(self, resource: ResourceId, document: dict[str, Any]) -> dict[str, Any]:
        """Create or replace the machine resource and return it."""
        return require_success(await self._send("PUT", _path(resource), MACHINES, document))

    async def delete_machine(self, resource: ResourceId) -> bool:
        """Delete the machine resource; return whether there was one."""
        answer = await self._send("DELETE", _path(resource), MACHINES, timeout=DELETE_TIMEOUT)
        if answer.status == 404:
            return False
        require_success(answer)
        return True

    async def associated_gateway(self, resource: ResourceId) -> str:
        """Return the resource id of the machine's gateway, empty when it has none."""
        document = require_success(await self._send("GET", _settings(resource), SETTINGS))
        properties = document.get("properties")
        gateway = properties.get("gatewayProperties") if isinstance(properties, dict) else None
        return str(gateway.get("gatewayResourceId") or "") if isinstance(gateway, dict) else ""

    async def associate_gateway(self, resource: ResourceId, gateway_id: str) -> None:
        """Associate the machine with a gateway."""
        document = {"properties": {"gatewayProperties": {"gatewayResourceId": gateway_id}}}
        require_success(await self._send("PUT", _settings(resource), SETTINGS, document))

    async def audit_records(self, subscription_id: str, vm_id: str, since: datetime, most: int) -> list[dict[str, Any]]:
        """Return the newest records of the tunnels that a machine has begun since then, at most about `most`."""
        query = urlencode(
            {"machine": vm_id, "event": "start", "since": since.isoformat(), "$top": AUDIT_PAGE}, safe="$"
        )
        path = f"/subscriptions/{quote(subscription_id, safe='')}/providers/Arcgate.Network/auditRecords?{query}"
        found: list[dict[str, Any]] = []
        while path and len(found) < most:
            document = require_success(await self._send("GET", path, AUDIT))
            found += [one for one in document.get("value", ()) if isinstance(one, dict)]
            link = document.get("nextLink")
            # The token goes to our own resource manager, wherever a link may lead.
            path = parse_url(link).path if isinstance(link, str) else ""
        return found

    async def _send(
        self, method: str, path: str, api_version: str, document: Any = None, timeout: float = 30
    ) -> Answer:
        # Links of the resource manager's own name the version already.
        version = "" if "api-version=" in path else f"{'&' if '?' in path else '?'}api-version={api_version}"
        url = f"{self.base}{path}{version}"
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.correlation_id:
            headers["x-ms-correlation-request-id"] = self.correlation_id
        return await self.http.request_json(method, url, document, headers=headers, timeout=timeout)


def is_missing_group(error: ServiceRefusal) -> bool:
    """Say whether a refusal is about a resource group that doesn't exist."""
    return error.code == "ResourceGroupNotFound"


def _group(subscription_id: str, group: str) -> str:
    return f"/subscriptions/{quote(subscription_id, safe='')}/resourceGroups/{quote(group, safe='')}"


def _path(resource: ResourceId) -> str:
    return quote(str(resource), safe="/")


def _settings(resource: ResourceId) -> str:
    return f"{_path(resource)}/providers/{SETTINGS_TYPE}/default"
