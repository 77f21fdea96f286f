"""Arc Proxy's bounds come from the settings."""

from arcgate.agent.local_settings import settings_of
from arcgate.agent.proxy.limits import ProxyLimits
from arcgate.core.configuration import GatewaySettings


def test_without_settings_the_defaults_of_both_agree() -> None:
    assert ProxyLimits.of(settings_of({}, {}).values) == ProxyLimits() == ProxyLimits.of({})


def test_settings_change_the_limits() -> None:
    settings = settings_of({"arcproxy.connections": 7, "arcproxy.timeout.drain": 0}, {})
    limits = ProxyLimits.of(settings.values)
    assert (limits.connections, limits.drain_timeout) == (7, 0)


def test_both_ends_keep_silent_tunnels_for_the_same_hours() -> None:
    assert ProxyLimits().idle_timeout == GatewaySettings().idle_timeout >= 4 * 3600
