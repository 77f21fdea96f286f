"""Which extensions a machine's owner permits, by its own settings. Pure; removing one is always permitted."""

import re
from collections.abc import Mapping
from typing import Any

ALLOW_NONE = "Allow/None"
MONITORING = (
    "Arcgate/Monitor",
    "Microsoft.Azure.Monitor/AzureMonitorLinuxAgent",
    "Microsoft.Azure.Monitor/AzureMonitorWindowsAgent",
    "Microsoft.Azure.Monitoring.DependencyAgent/DependencyAgentLinux",
    "Microsoft.Azure.Monitoring.DependencyAgent/DependencyAgentWindows",
    "Microsoft.Azure.AzureDefenderForServers/MDE.Linux",
    "Microsoft.Azure.AzureDefenderForServers/MDE.Windows",
    "Microsoft.EnterpriseCloud.Monitoring/OmsAgentForLinux",
)
"""What config.mode monitor allows."""


def refusal(settings: Mapping[str, Any], publisher: str, type_: str) -> str:
    """Return why an extension may not be installed or changed here, as a sentence; empty when it may.

    `settings` are the values of `azcmagent config` by name.
    """
    name = f"{publisher}/{type_}"
    if not settings.get("extensions.enabled", True):
        return "The machine's setting extensions.enabled is false."
    if _is_listed(settings.get("extensions.blocklist", ()), name):
        return f"The machine's setting extensions.blocklist names {name}."
    allowed = settings.get("extensions.allowlist", ())
    if allowed and not _is_listed(allowed, name):
        return f"The machine's setting extensions.allowlist does not name {name}."
    if settings.get("config.mode") == "monitor" and not _is_listed(MONITORING, name):
        return f"The machine's setting config.mode is monitor, which does not allow {name}."
    return ""


def _is_listed(patterns: Any, name: str) -> bool:
    return any(one != ALLOW_NONE and _matches(one, name) for one in patterns)


def _matches(pattern: str, name: str) -> bool:
    form = ".*".join(re.escape(part) for part in pattern.lower().split("*"))
    return re.fullmatch(form, name.lower()) is not None
