"""NO_PROXY: the hosts that go without the proxy of the environment, as curl and others read it."""

from ipaddress import ip_address, ip_network

from arcgate.core.names import Target


def is_exempt(target: Target, exemptions: str) -> bool:
    """Say whether one of the comma separated entries names the target: host, suffix, address, network or '*'."""
    return any(_matches(target, entry.strip().lower()) for entry in exemptions.split(",") if entry.strip())


def _matches(target: Target, entry: str) -> bool:
    if entry == "*":
        return True
    if isinstance(target.host, str):
        name = entry.removeprefix("*").removeprefix(".")
        return target.host == name or target.host.endswith(f".{name}")
    try:
        return target.host in ip_network(entry) if "/" in entry else target.host == ip_address(entry.strip("[]"))
    except ValueError:
        return False
