"""Extensions as `azcmagent extension list` shows them: what the cloud wants, and what became of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from arcgate.agent.extension_state import WantedExtensions
from arcgate.core.extension_goals import ExtensionGoal, ExtensionStatus

HEADINGS = ("NAME", "PUBLISHER", "TYPE", "WANTED VERSION", "INSTALLED VERSION", "STATE", "MESSAGE")


@dataclass(frozen=True, slots=True)
class ListedExtension:
    """One extension; `wanted` is None when the cloud does not want it here, `status` while nobody has dealt with it."""

    name: str
    wanted: ExtensionGoal | None = None
    status: ExtensionStatus | None = None

    @property
    def state(self) -> str:
        """What has become of it, in a word or a few."""
        if self.status is not None:
            return str(self.status.state)
        return "wanted, not dealt with yet"

    def cells(self) -> tuple[str, ...]:
        """Return the texts, one for each of HEADINGS."""
        wanted, status = self.wanted, self.status
        return (
            self.name,
            wanted.publisher if wanted else "",
            wanted.type if wanted else "",
            (wanted.version or "newest") if wanted else "none",
            (status.version if status else "") or "none",
            self.state,
            status.message if status else "",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the extension; without its settings, which are nobody else's business."""
        wanted, status = self.wanted, self.status
        return {
            "name": self.name,
            "publisher": wanted.publisher if wanted else "",
            "type": wanted.type if wanted else "",
            "isWanted": wanted is not None,
            "wantedVersion": wanted.version if wanted else "",
            "installedVersion": status.version if status else "",
            "state": self.state,
            "message": status.message if status else "",
            "time": status.time if status else "",
        }


def listed(wanted: WantedExtensions | None, statuses: Iterable[ExtensionStatus]) -> list[ListedExtension]:
    """Return all extensions that the cloud wants here or that the machine knows, by name."""
    goals = {one.goal.name.lower(): one.goal for one in wanted.extensions} if wanted is not None else {}
    known = {one.name.lower(): one for one in statuses}
    return [
        ListedExtension((goals.get(key) or known[key]).name, goals.get(key), known.get(key))
        for key in sorted(goals.keys() | known.keys())
    ]
