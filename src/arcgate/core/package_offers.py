"""Packages of the agent that need no Python on machines, by the names that `make packages` gives them. Pure."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_VERSION = r"(?P<version>[0-9]+(?:\.[0-9]+){1,3}(?:(?:a|b|rc|\.dev)[0-9]+)?)"
_MACHINE = r"(?P<machine>x86_64|aarch64)"
_NAMES = {
    "deb": re.compile(rf"azcmagent_{_VERSION}_(?P<machine>amd64|arm64)\.deb\Z", re.ASCII),
    "rpm": re.compile(rf"azcmagent-{_VERSION}-1\.{_MACHINE}\.rpm\Z", re.ASCII),
    "apk": re.compile(rf"azcmagent-{_VERSION}-r0\.{_MACHINE}\.apk\Z", re.ASCII),
    "archive": re.compile(rf"azcmagent-{_VERSION}-linux-(?P<libc>gnu|musl)-{_MACHINE}\.tar\.gz\Z", re.ASCII),
}
_LINUX_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Offer:
    """One package that machines can have."""

    name: str
    version: str
    kind: str
    """deb, rpm, apk or archive; python for one that the machine's own Python runs."""
    machine: str
    """What `uname -m` says there, or the ABI tag of its Python."""
    libc: str
    """gnu or musl; empty where Python says it."""
    sha256: str = ""

    @property
    def line(self) -> str:
        """What the installer reads, word by word; names and versions have no spaces."""
        return f"{self.version} {self.kind} {self.libc} {self.machine} {self.name} {self.sha256}"

    @property
    def document(self) -> dict[str, str]:
        """What the list of packages says about it."""
        return {
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "machine": self.machine,
            "libc": self.libc,
            "sha256": self.sha256,
        }


def read_name(name: str) -> Offer | None:
    """Return what a file's name says, or None when it is no package of the agent."""
    for kind, pattern in _NAMES.items():
        if found := pattern.match(name):
            known = found.groupdict()
            libc = known.get("libc", "musl" if kind == "apk" else "gnu")
            machine = _LINUX_NAMES.get(known["machine"], known["machine"])
            return Offer(name, known["version"], kind, machine, libc)
    return None


def index_of(offers: Iterable[Offer]) -> bytes:
    """Return the list of packages, byte for byte as it is signed and given to machines."""
    return json.dumps({"packages": [one.document for one in offers]}, separators=(",", ":")).encode() + b"\n"


def table(offers: Iterable[Offer]) -> str:
    """Return the installer's table of packages, a line each."""
    return "\n".join(sorted(one.line for one in offers))
