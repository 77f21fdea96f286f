"""The cloud definition that the installer puts on machines (docs/reference/protocols.md, section 7). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arcgate.core.configuration import Configuration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Approach:
    """How a machine reached us: by a gateway, by an extra name, or (both empty) by our own names."""

    gateway_name: str = ""
    extra_name: str = ""


def cloud_name(configuration: Configuration) -> str:
    """Return the cloud's name, or its domain when the name doesn't fit into a file's name."""
    name = configuration.cloud.name
    return name if _NAME.match(name) else configuration.cloud.domain


def cloud_definition(
    configuration: Configuration, authorities_pem: str, approach: Approach, package_keys: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the definition for a machine that reached us this way; it trusts packages of these keys alone, if any."""
    domain, port = configuration.cloud.domain, configuration.cloud.public_port
    own = ("management", "login", "gbl.his", "packages")
    hosts = [approach.extra_name or f"{part}.{domain}" for part in own]
    keys = ("resourceManager", "login", "his", "packages")
    return {
        "name": cloud_name(configuration),
        **{key: configuration.url_of(host) for key, host in zip(keys, hosts, strict=True)},
        "domain": domain,
        "ca": authorities_pem,
        "packageKeys": list(package_keys),
        "front": f"{approach.gateway_name}:{port}" if approach.gateway_name else "",
        "address": "",
    }


def download_url(configuration: Configuration, approach: Approach) -> str:
    """Return the URL that the installer downloads from: by the way that it came itself."""
    name = approach.gateway_name or approach.extra_name or f"packages.{configuration.cloud.domain}"
    return configuration.url_of(name)
