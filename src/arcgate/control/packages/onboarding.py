"""Renders onboarding scripts: download, install, connect, and a report when one of them fails. Pure.

No value is pasted: each becomes a literal of its shell, so that it stays the same bytes whatever it holds.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from arcgate.control.packages.installer import fill_template, plain, require_pem

_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell takes each of them for a single quote."""


@dataclass(frozen=True, slots=True)
class Onboarding:
    """What a script is for."""

    tenant_id: str
    subscription_id: str
    resource_group: str
    location: str
    cloud: str
    installer_url: str
    """Without the name of the system: `https://…/azcmagent-`."""
    log_url: str
    authorities_pem: str = ""
    gateway_id: str = ""
    resource_name: str = ""
    service_principal_id: str = ""
    secret_file: str = ""
    proxy: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def tag_argument(tags: Mapping[str, str]) -> str:
    """Return the value of `azcmagent connect --tags`; raises ValueError for a tag that it can't say."""
    if any("'" in part for pair in tags.items() for part in pair):
        raise ValueError("tags of onboarding scripts have no single quotes")
    return ",".join(f"'{name}'='{value}'" for name, value in tags.items())


def powershell_literal(text: str) -> str:
    """Return a PowerShell literal of the text."""
    return "'" + "".join(2 * one if one in _POWERSHELL_QUOTES else one for one in text) + "'"


def render_linux_onboarding(one: Onboarding) -> str:
    """Return the shell script; raises ValueError for authorities or tags that it can't hold."""
    authorities = one.authorities_pem.strip()
    require_pem(authorities)
    quoted = {name: shlex.quote(value) for name, value in _values(one, "linux").items()}
    lines = {"CLOUD_NAME": plain(one.cloud), "CA_PEM": authorities}
    return fill_template("onboard_linux.sh", {**quoted, **lines})


def render_windows_onboarding(one: Onboarding) -> str:
    """Return the PowerShell script; raises ValueError for authorities or tags that it can't hold."""
    require_pem(one.authorities_pem.strip())
    values = {**_values(one, "windows"), "CA": one.authorities_pem.strip()}
    quoted = {name: powershell_literal(value) for name, value in values.items()}
    return fill_template("onboard_windows.ps1", {**quoted, "CLOUD_NAME": plain(one.cloud)})


def _values(one: Onboarding, system: str) -> dict[str, str]:
    return {
        "SUBSCRIPTION": one.subscription_id,
        "GROUP": one.resource_group,
        "TENANT": one.tenant_id,
        "LOCATION": one.location,
        "AUTH_TYPE": "principal" if one.service_principal_id else "token",
        "CLOUD": one.cloud,
        "GATEWAY_ID": one.gateway_id,
        "RESOURCE_NAME": one.resource_name,
        "PRINCIPAL": one.service_principal_id,
        "SECRET_FILE": one.secret_file,
        "TAGS": tag_argument(one.tags),
        "PROXY": one.proxy,
        "INSTALLER_URL": one.installer_url + system,
        "LOG_URL": one.log_url,
    }
