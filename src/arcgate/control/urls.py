"""Absolute URLs in answers: under the name that the request came by, if that is one of ours."""

import re

from starlette.requests import HTTPConnection

from arcgate.core.configuration import Configuration

_HOST = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")


def base_url(request: HTTPConnection, configuration: Configuration) -> str:
    """Return `https://host[:port]` of the name that the request was sent to, or of the management name.

    Nothing a client can forge (X-Forwarded-Host, other names) gets into it.
    """
    match = _HOST.match(request.headers.get("host", ""))
    host = match["host"].lower().strip("[]").removesuffix(".") if match else ""
    if not is_control_name(host, configuration):
        host = f"management.{configuration.cloud.domain}"
    return configuration.url_of(host)


def is_control_name(host: str, configuration: Configuration) -> bool:
    """Say whether the (lower-case) host is one of the control plane's own names."""
    suffix = f".his.{configuration.cloud.domain}"
    region = host.removesuffix(suffix)
    return host in configuration.control_names or (host.endswith(suffix) and region in configuration.cloud.regions)
