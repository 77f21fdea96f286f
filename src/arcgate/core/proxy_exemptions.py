"""NO_PROXY: the hosts that go without the proxy of the environment, as curl and others read it."""

import re
from ipaddress import ip_address, ip_network

from arcgate.core.names import Target

_ENTRY = re.compile(r"[^\s,]+")


def is_exempt(target: Target, exemptions: str) -> bool:
    """Say whether an entry names the target: host, suffix, address, network or '*', parted by commas or spaces."""
    return any(_matches(target, entry.lower()) for entry in _ENTRY.findall(exemptions))


def _matches(target: Target, entry: str) -> bool:
    if entry == "*":
        return True
    if isinstance(target.host, str):
        name = entry.removeprefix("*").removeprefix(".")
        return target.host == name or target.host.endswith(f".{name}")
    try:
        return (
            target.host in ip_network(entry, strict=False)
            if "/" in entry
            else target.host == ip_address(entry.strip("[]"))
        )
    except ValueError:
        return False
