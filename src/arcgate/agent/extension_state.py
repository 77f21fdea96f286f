"""Extensions in the agent's files: what the cloud wants (written by himdsd), and what came of it (read by himdsd).

Whoever installs extensions reads the one and writes the other; docs/reference/protocols.md, section "Extension goals",
is the contract.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from arcgate.agent.machine_key import MachineKey
from arcgate.agent.paths import PUBLIC, SHARED, AgentPaths
from arcgate.agent.platform import current
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.extension_goals import ExtensionGoal, ExtensionStatus
from arcgate.net.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class WantedExtension:
    """An extension that shall be there, with its settings; the protected ones are sealed, empty when there are none."""

    goal: ExtensionGoal
    settings: Mapping[str, Any] = field(default_factory=dict)
    protected: str = field(default="", repr=False)

    def open_protected(self, key: MachineKey, machine_id: str) -> dict[str, Any]:
        """Return the protected settings, {} for none; raises InputError (SEALED_SETTINGS_INVALID)."""
        if not self.protected:
            return {}
        return key.open_sealed(machine_id, self.goal.name, self.goal.settings_revision, self.protected)

    def to_json(self) -> dict[str, Any]:
        """Return the extension as the file holds it."""
        return {**self.goal.to_json(), "settings": dict(self.settings), "protectedSettings": self.protected}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "WantedExtension":
        """Return the extension of the file; raises KeyError, TypeError or ValueError on a bad one."""
        settings, protected = document["settings"], document["protectedSettings"]
        if not isinstance(settings, dict) or not isinstance(protected, str):
            raise TypeError("settings are an object, and sealed ones a text")
        return cls(ExtensionGoal.from_json(document), settings, protected)


@dataclass(frozen=True, slots=True)
class WantedExtensions:
    """All extensions that shall be there, by the goal of this revision; others shall not."""

    revision: int
    extensions: tuple[WantedExtension, ...] = ()


def read_wanted_extensions(paths: AgentPaths) -> WantedExtensions | None:
    """Return what the cloud wants, None while it has never said; raises StateError (FILE_UNREADABLE)."""
    document = read_json(paths.extensions)
    if document is None:
        return None
    try:
        found = tuple(WantedExtension.from_json(one) for one in document["extensions"])
        return WantedExtensions(int(document["revision"]), found)
    except (KeyError, TypeError, ValueError, ArcgateError) as error:
        raise StateError("FILE_UNREADABLE", f"{paths.extensions} can't be read.", cause=repr(error)) from None


def write_wanted_extensions(paths: AgentPaths, wanted: WantedExtensions) -> None:
    """Store what the cloud wants; settings are nobody else's business."""
    document = {"revision": wanted.revision, "extensions": [one.to_json() for one in wanted.extensions]}
    write_json(paths.extensions, document)
    if current().has_group():
        current().share(paths.extensions, SHARED)


def read_extension_statuses(paths: AgentPaths) -> tuple[ExtensionStatus, ...]:
    """Return what came of it, nothing while nobody has said; raises StateError (FILE_UNREADABLE)."""
    document = read_json(paths.extension_statuses)
    if document is None:
        return ()
    try:
        return tuple(ExtensionStatus.from_json(one) for one in document["extensions"])
    except (KeyError, TypeError, ValueError) as error:
        raise StateError("FILE_UNREADABLE", f"{paths.extension_statuses} can't be read.", cause=repr(error)) from None


def write_extension_statuses(paths: AgentPaths, statuses: Iterable[ExtensionStatus]) -> None:
    """Store what came of it; himdsd tells the cloud within a second."""
    write_json(paths.extension_statuses, {"extensions": [one.to_json() for one in statuses]}, PUBLIC)
