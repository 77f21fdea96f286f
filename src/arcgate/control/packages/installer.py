"""Renders the installer scripts: templates with values that are quoted for the shell, never pasted. Pure."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from arcgate.core.package_offers import Offer, table

_PLACEHOLDER = re.compile(r"@@([A-Z_]+)@@")
_PEM = re.compile(r"(?:-----(?:BEGIN|END) CERTIFICATE-----|[A-Za-z0-9+/=]*)\Z")
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=\Z")
_PLAIN = re.compile(r"[^A-Za-z0-9 ._-]")


@dataclass(frozen=True, slots=True)
class Package:
    """The agent's package that an installer is for."""

    version: str
    platform: str
    """Python's ABI tag with the system's (SOABI), which the machine's Python must have too."""
    python_version: str

    @property
    def file_name(self) -> str:
        """The name of the archive."""
        return f"azcmagent-{self.version}-{self.platform}.tar.gz"


def render_linux(package: Package, cloud: Mapping[str, Any], base_url: str, offers: Sequence[Offer] = ()) -> str:
    """Return the shell script that installs the agent for this cloud from `base_url`, one of the offers if one fits."""
    authorities = str(cloud["ca"]).strip()
    require_pem(authorities)
    keys = [str(one) for one in cloud.get("packageKeys", ())]
    if not all(_KEY.match(one) for one in keys):
        raise ValueError("a key for packages is not 32 bytes in base64")
    return fill_template(
        "install_linux.sh",
        {
            "PACKAGE_KEYS": "\n".join(keys),
            "CLOUD_NAME": plain(str(cloud["name"])),
            "VERSION": shlex.quote(package.version),
            "PLATFORM": shlex.quote(package.platform),
            "PYTHON_VERSION": shlex.quote(package.python_version),
            "BASE_URL": shlex.quote(base_url),
            "OFFERS": table(offers),
            "CLOUD_NAME_QUOTED": shlex.quote(str(cloud["name"])),
            "CA_PEM": authorities,
            "CLOUD_JSON": json.dumps(cloud, ensure_ascii=True),  # on one line, so it can't end its here-document
        },
    )


def render_windows(package: Package, cloud: Mapping[str, Any]) -> str:
    """Return the PowerShell script that says that there is no Windows agent yet."""
    values = {"CLOUD_NAME": str(cloud["name"]), "VERSION": package.version}
    return fill_template("install_windows.ps1", {name: plain(value) for name, value in values.items()})


def plain(text: str) -> str:
    """Return a text for a comment: what could end a line or begin something else is left out."""
    return _PLAIN.sub("", text)


def data_text(name: str) -> str:
    """Return a data file of this package."""
    return files(__package__).joinpath("data", name).read_text(encoding="utf-8")


def fill_template(name: str, values: Mapping[str, str]) -> str:
    """Return a data file with its placeholders filled; values must be quoted already."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], data_text(name))


def require_pem(text: str) -> None:
    """Raise ValueError unless the text is lines of certificates in PEM, or empty."""
    # A line of its own could end the here-document around it; certificates have no such lines.
    if not all(_PEM.match(line) for line in text.split("\n")):
        raise ValueError("the authorities are not plain PEM")
