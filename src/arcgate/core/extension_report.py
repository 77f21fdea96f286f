"""What the cloud is told of an extension, made from what we know of it and what its handler says. Pure."""

from dataclasses import dataclass, replace

from arcgate.core.extension_goals import LONGEST_MESSAGE, ExtensionState, ExtensionStatus, Level
from arcgate.core.extension_lifecycle import TRANSITIONS, Command, Record, Stage
from arcgate.core.handler_documents import HandlerState, HandlerStatus

_BEFORE_INSTALLED = (Stage.INSTALLING, Stage.BROKEN)
_LEAVING = (Stage.DISABLING, Stage.UNINSTALLING, Stage.GONE)
_LEVELS = {HandlerState.WARNING: Level.WARNING, HandlerState.ERROR: Level.ERROR}
_DISPLAYED = {
    HandlerState.SUCCESS: "Provisioning succeeded",
    HandlerState.WARNING: "Provisioning succeeded with a warning",
    HandlerState.ERROR: "Provisioning failed",
    HandlerState.TRANSITIONING: "Provisioning",
}


@dataclass(frozen=True, slots=True)
class HandlerWords:
    """What the handler's files say; `problem` is why its status could not be understood."""

    status: HandlerStatus | None = None
    problem: str = ""
    is_alive: bool = True
    """False when it promised a heartbeat, and there is none, or it says that it is not ready."""
    pulse: str = ""
    """What its heartbeat says, or what is wrong with that."""


def report(name: str, record: Record, words: HandlerWords, warning: str = "") -> ExtensionStatus:
    """Return the status of an extension; `warning` is something that the machine's owner should know."""
    if record.failure and record.is_resting:
        return _failed(name, record, words)
    status = _running(name, record, words) if not record.is_resting else _settled(name, record, words)
    if warning and status.level is Level.INFORMATION and record.is_resting:
        return replace(status, level=Level.WARNING, message=_join(status.message, warning))
    return status


def refused(name: str, revision: int, record: Record | None, code: str, text: str) -> ExtensionStatus:
    """Return the status of an extension that the machine does not do anything for, with the reason."""
    return ExtensionStatus(
        name,
        revision,
        ExtensionState.FAILED,
        _version(record),
        code,
        Level.ERROR,
        "Provisioning failed",
        text[:LONGEST_MESSAGE],
    )


def _failed(name: str, record: Record, words: HandlerWords) -> ExtensionStatus:
    said = words.status
    is_his = said is not None and said.state is HandlerState.ERROR
    parts = [record.failure]
    if record.failed_version and record.stage is Stage.ENABLED:
        parts.append(f"Version {record.version} is in use again, in place of {record.failed_version}.")
    if is_his and said is not None:
        parts.append(said.message)
    code = said.code if is_his and said is not None else "HandlerFailed"
    return refused(name, record.revision, record, code, _join(*parts))


def _running(name: str, record: Record, words: HandlerWords) -> ExtensionStatus:
    state = (
        ExtensionState.CREATING if record.stage is Stage.INSTALLING or not record.settled else ExtensionState.UPDATING
    )
    if record.stage in _LEAVING:
        state = ExtensionState.DELETING
    move = TRANSITIONS[record.stage]
    version = record.coming if move.is_coming else record.version
    said = words.status.message if words.status is not None and move.command is Command.ENABLE else ""
    text = _join(f"The handler's command {move.command} of version {version} is running.", said)
    return ExtensionStatus(
        name, record.revision, state, _version(record), "Running", Level.INFORMATION, "Provisioning", text
    )


def _settled(name: str, record: Record, words: HandlerWords) -> ExtensionStatus:
    if words.problem:
        return refused(name, record.revision, record, "StatusInvalid", f"The handler was enabled, but {words.problem}.")
    said = words.status or HandlerStatus(HandlerState.SUCCESS, message="The handler was enabled; it reports no status.")
    level = _LEVELS.get(said.state, Level.INFORMATION)
    message, shown = said.message, _DISPLAYED[said.state]
    if not words.is_alive and level is not Level.ERROR:
        level, message, shown = Level.WARNING, _join(words.pulse, message), "Not ready"
    states = {HandlerState.ERROR: ExtensionState.FAILED, HandlerState.TRANSITIONING: ExtensionState.UPDATING}
    state = states.get(said.state, ExtensionState.SUCCEEDED)
    return ExtensionStatus(name, record.revision, state, record.version, said.code, level, shown, message)


def _version(record: Record | None) -> str:
    return "" if record is None or record.stage in _BEFORE_INSTALLED else record.version


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)[:LONGEST_MESSAGE]
