"""Packages of extensions on offer, and which of them a goal wants. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arcgate.core.errors import InputError
from arcgate.core.extension_goals import ExtensionGoal

ANY_MACHINE = "any"
"""A package that does not depend on the processor."""
LARGEST_PACKAGE = 256 * 1024 * 1024
"""Bytes."""
LARGEST_DESCRIPTION = 8192
"""Characters."""

_IDENTITY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}\Z", re.ASCII)
_VERSION = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){1,3}\Z", re.ASCII)
_MACHINE = re.compile(r"[a-z0-9_]{1,32}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PackageDescription:
    """What a publisher signs of a package; `machine` is what `uname -m` says, or any."""

    publisher: str
    type: str
    version: str
    machine: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The name that the package goes by on its host."""
        return f"{self.publisher}.{self.type}-{self.version}-{self.machine}.zip"

    def to_text(self) -> str:
        """Return the text that is signed."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"format": "arcgate-extension-1", **document}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "PackageDescription":
        """Return the description of a text; raises InputError (PACKAGE_DESCRIPTION_INVALID)."""
        try:
            if len(text) > LARGEST_DESCRIPTION:
                raise ValueError(f"it has more than {LARGEST_DESCRIPTION} characters")
            return _description(json.loads(text))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(
                "PACKAGE_DESCRIPTION_INVALID", "The description of a package can't be read.", cause=str(error)[:200]
            ) from None


def _description(document: Mapping[str, Any]) -> PackageDescription:
    if document["format"] != "arcgate-extension-1":
        raise ValueError("it has another format")
    forms = (
        ("publisher", _IDENTITY),
        ("type", _IDENTITY),
        ("version", _VERSION),
        ("machine", _MACHINE),
        ("sha256", _DIGEST),
    )
    for name, form in forms:
        if not isinstance(document[name], str) or not form.match(document[name]):
            raise ValueError(f"{name} is malformed")
    size = document["size"]
    if type(size) is not int or not 0 < size <= LARGEST_PACKAGE:
        raise ValueError(f"size is not from 1 to {LARGEST_PACKAGE} bytes")
    return PackageDescription(*(document[name] for name in PackageDescription.__slots__))


def numbers_of(version: str) -> tuple[int, ...]:
    """Return what versions compare by; an empty one is before all others."""
    return tuple(int(part) for part in version.split(".")) if version else ()


def is_newer(version: str, than: str) -> bool:
    """Say whether a version comes after another one; 1.2 and 1.2.0 are the same."""
    return _padded(version) > _padded(than)


def _padded(version: str) -> tuple[int, ...]:
    numbers = numbers_of(version)
    return numbers + (0,) * (4 - len(numbers)) if numbers else ()


def will_do(version: str, goal: ExtensionGoal) -> bool:
    """Say whether a version is one that the goal wants.

    Without autoUpgradeMinorVersion the goal's numbers hold as far as they go; with it, newer ones of the same major
    number will do as well.
    """
    wanted = numbers_of(goal.version)
    if goal.upgrades_minor and wanted:
        return numbers_of(version)[:1] == wanted[:1] and not is_newer(goal.version, version)
    return _padded(version)[: len(wanted)] == wanted


def choose(offers: Iterable[PackageDescription], goal: ExtensionGoal, machine: str) -> PackageDescription | None:
    """Return the newest package that the goal wants and that runs on such a machine."""
    kind = (goal.publisher.lower(), goal.type.lower())
    fitting = [
        one
        for one in offers
        if (one.publisher.lower(), one.type.lower()) == kind
        and one.machine in (ANY_MACHINE, machine)
        and will_do(one.version, goal)
    ]
    return max(fitting, key=lambda one: (_padded(one.version), one.machine != ANY_MACHINE), default=None)
