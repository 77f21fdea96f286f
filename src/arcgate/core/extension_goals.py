"""Extensions that the control plane wants on a machine, and what the machine reports of them. Pure.

The goal names them without their settings, which the agent fetches one by one: a goal is read by everybody on the
machine, settings are not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LONGEST_MESSAGE = 4096
"""Characters of a status's message; longer ones are cut."""
LONGEST_CODE = 100
LONGEST_TAG = 200
LARGEST_REVISION = 2**53

_NAME = re.compile(r"(?!.*\.\Z)[A-Za-z0-9_-][A-Za-z0-9_.-]{0,89}\Z")
"""It may become the name of a folder: no slash, and no point at either end."""
_IDENTITY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}\Z")
_VERSION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9}){0,3})?\Z")
_TIME = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2}))?\Z"
)


class ExtensionState(StrEnum):
    """ARM's provisioningState, as far as machines report it."""

    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Level(StrEnum):
    """ARM's levels of a status."""

    INFORMATION = "Information"
    WARNING = "Warning"
    ERROR = "Error"


@dataclass(frozen=True, slots=True)
class ExtensionGoal:
    """One wanted extension; what is not in a goal's list shall not be there.

    `settings_revision` rises with every change that the machine has to carry out, and never repeats, not even for an
    extension that was deleted and made again.
    """

    name: str
    publisher: str
    type: str
    version: str = ""
    """typeHandlerVersion; empty for the newest."""
    settings_revision: int = 0
    upgrades_minor: bool = True
    """autoUpgradeMinorVersion: a newer version of the same major number will do."""
    upgrades_itself: bool = False
    """enableAutomaticUpgrade: go on to newer versions without being asked."""
    force_update_tag: str = ""

    @property
    def is_readable(self) -> bool:
        """Whether machines will understand it."""
        try:
            return ExtensionGoal.from_json(self.to_json()) == self
        except (TypeError, ValueError):
            return False

    def to_json(self) -> dict[str, Any]:
        """Return the extension as goals hold it."""
        return {
            "name": self.name,
            "publisher": self.publisher,
            "type": self.type,
            "typeHandlerVersion": self.version,
            "settingsRevision": self.settings_revision,
            "autoUpgradeMinorVersion": self.upgrades_minor,
            "enableAutomaticUpgrade": self.upgrades_itself,
            "forceUpdateTag": self.force_update_tag,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ExtensionGoal":
        """Return the extension of a goal; raises KeyError, TypeError or ValueError on a bad one."""
        return cls(
            _matching(document, "name", _NAME),
            _matching(document, "publisher", _IDENTITY),
            _matching(document, "type", _IDENTITY),
            _matching(document, "typeHandlerVersion", _VERSION),
            _revision(document),
            _flag(document, "autoUpgradeMinorVersion"),
            _flag(document, "enableAutomaticUpgrade"),
            _text(document, "forceUpdateTag", LONGEST_TAG),
        )


@dataclass(frozen=True, slots=True)
class ExtensionStatus:
    """What a machine says of one extension; `settings_revision` is the one that it speaks of."""

    name: str
    settings_revision: int
    state: ExtensionState
    version: str = ""
    """The version that is installed; empty while none is."""
    code: str = ""
    level: Level = Level.INFORMATION
    display_status: str = ""
    message: str = ""
    time: str = ""
    """ISO 8601 with a zone: when it came to this."""

    def to_json(self) -> dict[str, Any]:
        """Return the status as it is stored and sent."""
        return {
            "name": self.name,
            "settingsRevision": self.settings_revision,
            "provisioningState": self.state,
            "typeHandlerVersion": self.version,
            "status": {
                "code": self.code,
                "level": self.level,
                "displayStatus": self.display_status,
                "message": self.message,
                "time": self.time,
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ExtensionStatus":
        """Return the status of a document; raises KeyError, TypeError or ValueError on a bad one."""
        status = document["status"]
        if not isinstance(status, Mapping):
            raise TypeError("status is no object")
        return cls(
            _matching(document, "name", _NAME),
            _revision(document),
            ExtensionState(_text(document, "provisioningState", LONGEST_CODE)),
            _matching(document, "typeHandlerVersion", _VERSION),
            _text(status, "code", LONGEST_CODE),
            Level(_text(status, "level", LONGEST_CODE)),
            _text(status, "displayStatus", LONGEST_CODE),
            _text(status, "message", 16 * LONGEST_MESSAGE)[:LONGEST_MESSAGE],
            _matching(status, "time", _TIME),
        )


def is_extension_name(text: str) -> bool:
    """Say whether an extension may have this name."""
    return _NAME.match(text) is not None


def _text(document: Mapping[str, Any], key: str, limit: int) -> str:
    value = document[key]
    if not isinstance(value, str) or len(value) > limit:
        raise TypeError(f"{key} is no text of at most {limit} characters")
    return value


def _matching(document: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = _text(document, key, LONGEST_TAG)
    if not pattern.match(value):
        raise ValueError(f"{key} is malformed")
    return value


def _revision(document: Mapping[str, Any]) -> int:
    value = document["settingsRevision"]
    if type(value) is not int or not 0 <= value < LARGEST_REVISION:
        raise TypeError("settingsRevision is no revision")
    return value


def _flag(document: Mapping[str, Any], key: str) -> bool:
    value = document[key]
    if not isinstance(value, bool):
        raise TypeError(f"{key} is neither true nor false")
    return value
