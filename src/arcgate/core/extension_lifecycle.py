"""The life of one extension on a machine: which of its handler's commands comes next. Pure.

A record rests in ENABLED, UNSETTLED (installed, but enabling it failed) or BROKEN (not installed); in every other stage
one command is owed, and TRANSITIONS says which, of which version, and where its end leads. A record is stored before
and after each command, so that whoever was interrupted goes on with the command that was owed.

An update is disable (old), update (new), uninstall (old), install (new), enable (new). What fails on that way leads
back: what the old version lost is given to it again, and it is enabled with the settings that it had.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from arcgate.core.extension_packages import is_newer


class Command(StrEnum):
    """The commands of a handler."""

    INSTALL = "install"
    ENABLE = "enable"
    UPDATE = "update"
    DISABLE = "disable"
    UNINSTALL = "uninstall"


class Stage(StrEnum):
    """Where an extension is on its way."""

    INSTALLING = "installing"
    ENABLING = "enabling"
    ENABLED = "enabled"
    UNSETTLED = "unsettled"
    BROKEN = "broken"
    DISABLING_OLD = "disabling old"
    UPDATING = "updating"
    REMOVING_OLD = "removing old"
    INSTALLING_NEW = "installing new"
    ENABLING_NEW = "enabling new"
    REMOVING_NEW = "removing new"
    RESTORING_OLD = "restoring old"
    ENABLING_OLD = "enabling old"
    DISABLING = "disabling"
    UNINSTALLING = "uninstalling"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Move:
    """The command of a stage, whether it is the coming version's, and the stages after its success and failure."""

    command: Command
    is_coming: bool
    success: Stage
    failure: Stage


_ENDS = (Stage.DISABLING, Stage.UNINSTALLING)
TRANSITIONS = {
    Stage.INSTALLING: Move(Command.INSTALL, False, Stage.ENABLING, Stage.BROKEN),
    Stage.ENABLING: Move(Command.ENABLE, False, Stage.ENABLED, Stage.UNSETTLED),
    Stage.DISABLING_OLD: Move(Command.DISABLE, False, Stage.UPDATING, Stage.ENABLING_OLD),
    Stage.UPDATING: Move(Command.UPDATE, True, Stage.REMOVING_OLD, Stage.ENABLING_OLD),
    Stage.REMOVING_OLD: Move(Command.UNINSTALL, False, Stage.INSTALLING_NEW, Stage.RESTORING_OLD),
    Stage.INSTALLING_NEW: Move(Command.INSTALL, True, Stage.ENABLING_NEW, Stage.REMOVING_NEW),
    Stage.ENABLING_NEW: Move(Command.ENABLE, True, Stage.ENABLED, Stage.REMOVING_NEW),
    Stage.REMOVING_NEW: Move(Command.UNINSTALL, True, Stage.RESTORING_OLD, Stage.RESTORING_OLD),
    Stage.RESTORING_OLD: Move(Command.INSTALL, False, Stage.ENABLING_OLD, Stage.BROKEN),
    Stage.ENABLING_OLD: Move(Command.ENABLE, False, Stage.ENABLED, Stage.UNSETTLED),
    # Somebody who deletes an extension shall not be kept by its handler.
    Stage.DISABLING: Move(Command.DISABLE, False, Stage.UNINSTALLING, Stage.UNINSTALLING),
    Stage.UNINSTALLING: Move(Command.UNINSTALL, False, Stage.GONE, Stage.GONE),
}
_NOT_INSTALLED = (Stage.INSTALLING, Stage.BROKEN, Stage.INSTALLING_NEW, Stage.RESTORING_OLD)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one extension on this machine."""

    publisher: str
    type: str
    version: str
    """The version that is there, or that is being installed."""
    stage: Stage
    revision: int
    """The settingsRevision that was last dealt with, well or not."""
    settled: int = 0
    """The settingsRevision that was last enabled well."""
    coming: str = ""
    """The version that an update leads to, or led to when it failed."""
    failure: str = ""
    """What failed last, in a sentence; empty after a success."""
    failed_version: str = ""
    """The version that an update failed for."""
    proxy: str = ""
    """The proxy that the handler was told of by itself."""
    is_owed: bool = False
    """Whether the handler is to be enabled again, since the machine or we have been started anew."""

    @property
    def is_resting(self) -> bool:
        """Whether no command is owed."""
        return self.stage not in TRANSITIONS

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is stored."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Record":
        """Return a stored record; raises KeyError, TypeError or ValueError."""
        values = {one.name: document[one.name] for one in fields(cls)}
        return cls(**{**values, "stage": Stage(values["stage"])})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a goal comes to: this version, with the settings of this revision; `proxy` as of records."""

    publisher: str
    type: str
    version: str
    revision: int
    proxy: str = ""

    def is_same_kind(self, record: Record) -> bool:
        """Say whether the record is of the same handler."""
        mine, other = (self.publisher, self.type), (record.publisher, record.type)
        return [one.lower() for one in mine] == [one.lower() for one in other]


def objection(record: Record | None, wish: Wish) -> tuple[str, str]:
    """Return code and sentence of why a wish is not followed; both empty when it is."""
    if record is None or not wish.is_same_kind(record) or record.stage in _ENDS:
        return "", ""
    if wish.revision < record.revision:
        return "OlderSettings", (
            "The settings are older than those that were carried out already, and are not carried out again. "
            "Delete the extension and make it anew if they are the ones that you want."
        )
    if record.is_resting and is_newer(record.version, wish.version) and record.stage is not Stage.BROKEN:
        return "DowngradeRefused", (
            f"Version {record.version} is installed, and handlers can't go back to {wish.version}. "
            "Delete the extension first."
        )
    return "", ""


def begin(record: Record | None, wish: Wish | None) -> Record | None:
    """Return the record to go on with: the same one when nothing is to do; None when there is nothing at all.

    A wish that `objection` objects to must not come here.
    """
    if record is None or record.stage is Stage.GONE:
        return None if wish is None else _fresh(wish)
    if record.stage in _ENDS:
        return record
    if wish is None or not wish.is_same_kind(record):
        return _leaving(record)
    if not record.is_resting:
        return record
    return _following(record, wish)


def after(record: Record, failure: str = "") -> Record:
    """Return the record after the command that was owed; `failure` says in a sentence why it failed."""
    move = TRANSITIONS[record.stage]
    stage = move.failure if failure else move.success
    is_end_of_return = record.stage in (Stage.ENABLING_OLD, Stage.RESTORING_OLD)
    after_it = replace(record, stage=stage, failure=failure or (record.failure if is_end_of_return else ""))
    if record.stage is Stage.REMOVING_NEW and not failure:
        after_it = replace(after_it, failure=record.failure)
    if record.stage is Stage.ENABLING_NEW and not failure:
        return replace(after_it, version=record.coming, coming="", settled=record.revision)
    if record.stage is Stage.ENABLING and not failure:
        return replace(after_it, settled=record.revision)
    if after_it.is_resting and record.coming:
        return replace(after_it, coming="", failed_version=record.coming)
    return after_it


def _fresh(wish: Wish) -> Record:
    return Record(wish.publisher, wish.type, wish.version, Stage.INSTALLING, wish.revision, proxy=wish.proxy)


def _leaving(record: Record) -> Record:
    if record.stage is Stage.BROKEN:
        return replace(record, stage=Stage.GONE)
    if record.stage in (Stage.INSTALLING_NEW, Stage.ENABLING_NEW, Stage.REMOVING_NEW):
        return replace(record, version=record.coming, coming="", stage=Stage.UNINSTALLING)
    if record.stage in _NOT_INSTALLED or record.stage is Stage.REMOVING_OLD:
        return replace(record, coming="", stage=Stage.UNINSTALLING)
    return replace(record, coming="", stage=Stage.DISABLING)


def _following(record: Record, wish: Wish) -> Record:
    is_new = wish.revision > record.revision
    newest = replace(record, revision=wish.revision, proxy=wish.proxy, is_owed=False)
    if record.stage is Stage.BROKEN:
        return replace(newest, version=wish.version, failure="", stage=Stage.INSTALLING) if is_new else record
    if is_newer(wish.version, record.version) and (is_new or wish.version != record.failed_version):
        return replace(newest, coming=wish.version, failure="", stage=Stage.DISABLING_OLD)
    is_again = record.stage is Stage.ENABLED and (record.is_owed or wish.proxy != record.proxy)
    if is_new or is_again:
        return replace(newest, stage=Stage.ENABLING)
    return record
