"""The files between the extension service and a handler, as the extension handler contract of Azure has them. Pure.

We write HandlerEnvironment.json and N.settings, and read HandlerManifest.json, N.status and the heartbeat: the latter
are a handler's words, which are believed within bounds only.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from arcgate.core.audit import printable
from arcgate.core.errors import InputError
from arcgate.core.extension_goals import LONGEST_MESSAGE
from arcgate.core.extension_lifecycle import Command

LARGEST_DOCUMENT = 256 * 1024
"""Bytes of a handler's manifest, status or heartbeat."""
MOST_WORDS = 64
"""Words of a command."""
MOST_SUBSTATUSES = 20

_CODE = re.compile(r"-?[0-9]{1,9}\Z", re.ASCII)


class HandlerState(StrEnum):
    """What a handler may say of itself in its status."""

    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    TRANSITIONING = "transitioning"


@dataclass(frozen=True, slots=True)
class HandlerManifest:
    """The commands of a handler: a program inside its package, and arguments."""

    commands: Mapping[Command, tuple[str, ...]]
    reports_heartbeat: bool = False
    updates_with_install: bool = True
    """Whether an update calls the new version's install command, too (updateMode)."""
    takes_protected_settings: bool = False
    """Ours alone: the commands read their protected settings, opened, from standard input."""


@dataclass(frozen=True, slots=True)
class HandlerStatus:
    """What a handler says of itself."""

    state: HandlerState
    code: str = "0"
    message: str = ""


def read_manifest(data: bytes) -> HandlerManifest:
    """Return the manifest; raises InputError (HANDLER_MANIFEST_INVALID)."""
    try:
        document = _only(_load(data))["handlerManifest"]
        mode = document.get("updateMode", "UpdateWithInstall")
        if mode not in ("UpdateWithInstall", "UpdateWithoutInstall"):
            raise ValueError("updateMode is neither UpdateWithInstall nor UpdateWithoutInstall")
        return HandlerManifest(
            {command: _words(document, f"{command}Command") for command in Command},
            document.get("reportHeartbeat", False) is True,
            mode == "UpdateWithInstall",
            document.get("protectedSettingsOnInput", False) is True,
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "HANDLER_MANIFEST_INVALID",
            "The package's HandlerManifest.json can't be used.",
            cause=printable(str(error), 200),
            remedy="Tell the extension's publisher.",
        ) from None


def _words(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    text = document[key]
    if not isinstance(text, str) or len(text) > 4096 or not text.isprintable():
        raise ValueError(f"{key} is no text of at most 4096 characters")
    words = tuple(shlex.split(text))
    if not words or len(words) > MOST_WORDS:
        raise ValueError(f"{key} has no words, or too many")
    program = PurePosixPath(words[0])
    if program.is_absolute() or ".." in program.parts or not program.parts:
        raise ValueError(f"{key} names a program outside of the package")
    return words


def environment_document(
    name: str, version: str, folders: Mapping[str, str], sequence: int, *, is_update: bool = False
) -> list[dict[str, Any]]:
    """Return HandlerEnvironment.json; `folders` has logFolder, configFolder, statusFolder and heartbeatFile."""
    return [
        {
            "name": name,
            "version": 1.0,
            "handlerVersion": version,
            "sequenceNumber": str(sequence),
            "isUpdate": is_update,
            "handlerEnvironment": dict(folders),
        }
    ]


def settings_document(public: Mapping[str, Any], protected: str, thumbprint: str) -> dict[str, Any]:
    """Return N.settings; `protected` is base64 of a CMS message for the certificate with that thumbprint, or empty."""
    settings: dict[str, Any] = {"publicSettings": dict(public)}
    if protected:
        settings |= {"protectedSettingsCertThumbprint": thumbprint, "protectedSettings": protected}
    return {"runtimeSettings": [{"handlerSettings": settings}]}


def read_status(data: bytes) -> HandlerStatus:
    """Return what N.status says; raises ValueError with the reason when it can't be understood."""
    try:
        status = _only(_load(data))["status"]
        state = HandlerState(str(status["status"]).lower())
        message = _message(status)
        parts = [message, *_substatuses(status.get("substatus"))]
        text = printable("\n".join(part for part in parts if part), 2 * LONGEST_MESSAGE)
        return HandlerStatus(state, _code(status.get("code")), text[:LONGEST_MESSAGE])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"its status can't be understood ({printable(repr(error), 120)})") from None


def read_heartbeat(data: bytes) -> tuple[bool, str]:
    """Return whether the handler says that it is ready, and its message; raises ValueError."""
    try:
        heartbeat = _only(_load(data))["heartbeat"]
        return str(heartbeat["status"]).lower() == "ready", printable(_message(heartbeat), 1000)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"its heartbeat can't be understood ({printable(repr(error), 120)})") from None


def _load(data: bytes) -> Any:
    if len(data) > LARGEST_DOCUMENT:
        raise ValueError(f"it has more than {LARGEST_DOCUMENT} bytes")
    return json.loads(data.decode("utf-8-sig"))


def _only(document: Any) -> Mapping[str, Any]:
    """Return the object itself, or the first one of a list."""
    one = document[0] if isinstance(document, list) and document else document
    if not isinstance(one, dict):
        raise TypeError("it holds no object")
    return one


def _message(status: Mapping[str, Any]) -> str:
    formatted = status.get("formattedMessage", status.get("message", ""))
    text = formatted.get("message", "") if isinstance(formatted, dict) else formatted
    return text if isinstance(text, str) else ""


def _substatuses(listed: Any) -> list[str]:
    return [
        f"[{str(one.get('name', ''))[:100]}] {text}"
        for one in (listed[:MOST_SUBSTATUSES] if isinstance(listed, list) else ())
        if isinstance(one, dict) and (text := _message(one))
    ]


def _code(value: Any) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if _CODE.match(text) else "0"
