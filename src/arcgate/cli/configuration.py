"""The server's configuration from arcgate.toml and the environment; every mistake is reported with its place.

The environment wins over the file: `ARCGATE_GATEWAY__WORKERS=2` sets `gateway.workers`; lists are separated by
commas, tables are `NAME=VALUE,NAME=VALUE`.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from arcgate.cli.configuration_checks import find_contradictions
from arcgate.cli.configuration_file import ConfigurationFile, KeyPath, read_configuration_file
from arcgate.cli.configuration_files import find_unusable_files
from arcgate.cli.settings import ENVIRONMENT_PREFIX, Setting, all_settings
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError, Place

DEFAULT_FILE = Path("/etc/arcgate/arcgate.toml")
FILE_VARIABLE = "ARCGATE_CONFIG"

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?P<fraction>\.[0-9]{1,9})?\Z", re.ASCII)


class ConfigurationErrors(ConfigurationError):
    """Several mistakes at once; it reads as the first one."""

    def __init__(self, errors: Sequence[ConfigurationError]) -> None:
        super().__init__(errors[0].place, errors[0].sentence, remedy=errors[0].remedy)
        self.sentence = errors[0].sentence
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the settings come from: a file, if there is one, and the environment."""

    file: ConfigurationFile
    variables: Mapping[KeyPath, str]

    def place(self, path: KeyPath) -> Place:
        """Return where a setting was given."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:
                return Place("environment", 0, self.variables[path[:length]])
        return self.file.place(path)


def load_configuration(
    path: Path | None, environment: Mapping[str, str] | None = None, now: datetime | None = None
) -> Configuration:
    """Return the configuration of a file (None: the usual file, if it exists) with the environment over it.

    The files that it names are looked into, as of `now`. Raises ConfigurationError; with several mistakes,
    ConfigurationErrors.
    """
    environment = os.environ if environment is None else environment
    file = _find_file(path, environment)
    document = json.loads(json.dumps(file.document, default=_not_json))
    sources, mistakes = _apply_environment(file, document, environment)
    configuration, invalid = _validate(document, sources)
    mistakes += invalid
    if configuration is not None:
        mistakes += find_contradictions(configuration, sources.place)
        mistakes += find_unusable_files(configuration, sources.place, now or datetime.now(UTC))
    if len(mistakes) > 1:
        raise ConfigurationErrors(mistakes)
    if mistakes:
        raise mistakes[0]
    assert configuration is not None
    return configuration


def _find_file(path: Path | None, environment: Mapping[str, str]) -> ConfigurationFile:
    if path is None and environment.get(FILE_VARIABLE):
        path = Path(environment[FILE_VARIABLE])
    if path is None:
        return read_configuration_file(DEFAULT_FILE) if DEFAULT_FILE.exists() else ConfigurationFile("defaults")
    return read_configuration_file(path)


def _not_json(value: object) -> object:
    """Dates and times, which no setting takes: as a table they fail every type."""
    return {"date": str(value)}


def _apply_environment(
    file: ConfigurationFile, document: dict[str, Any], environment: Mapping[str, str]
) -> tuple[Sources, list[ConfigurationError]]:
    known = {setting.variable: setting for setting in all_settings()}
    variables: dict[KeyPath, str] = {}
    mistakes = []
    for name, text in sorted(environment.items()):
        setting = known.get(name.upper()) if name.upper().startswith(ENVIRONMENT_PREFIX) else None
        if setting is not None:
            variables[setting.path] = name
            _put(document, setting.path, _from_text(setting, text))
        elif name.startswith(ENVIRONMENT_PREFIX) and (guess := _misspelt(name, known)) is not None:
            mistakes.append(
                ConfigurationError(Place("environment", 0, name), "there is no such setting.", remedy=guess)
            )
    return Sources(file, variables), mistakes


def _misspelt(name: str, known: Mapping[str, Setting]) -> str | None:
    """Return what to do about a variable that must be meant for us; others with our prefix are not our business."""
    close = difflib.get_close_matches(name, known, 1, 0.85 if "__" not in name else 0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return "'arcgate config list' shows all settings." if "__" in name else None


def _put(document: dict[str, Any], path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):  # the file has nonsense there, and validation will say so
            return
        document = inner
    document[path[-1]] = value


def _from_text(setting: Setting, text: str) -> Any:
    """Return a variable's text in the form that the file would have; what doesn't fit stays text, and fails there."""
    if setting.kind.startswith("list"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if setting.kind.startswith("table"):
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {name.strip(): value.strip() for name, _, value in pairs}
    if setting.kind == "number" and (match := _NUMBER.match(text.strip())):
        return float(text) if match["fraction"] else int(text)
    if setting.kind == "true or false" and text.lower() in {"true", "false", "1", "0"}:
        return text.lower() in {"true", "1"}
    return text


def _validate(document: dict[str, Any], sources: Sources) -> tuple[Configuration | None, list[ConfigurationError]]:
    _drop_empty_paths(document)
    try:
        # JSON mode: lists become tuples and texts paths, while a "443" never becomes a number.
        return Configuration.model_validate_json(json.dumps(document), strict=True), []
    except ValidationError as error:
        found: dict[KeyPath, ConfigurationError] = {}
        for detail in error.errors(include_url=False):
            path = _key_path(detail)
            # Each half of a union complains: one complaint for a key is enough.
            found.setdefault(path, _to_error(detail, path, sources))
        return None, list(found.values())


def _drop_empty_paths(document: dict[str, Any]) -> None:
    for setting in all_settings():
        holder: Any = document
        for part in setting.path[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if setting.default is None and isinstance(holder, dict) and holder.get(setting.path[-1]) == "":
            del holder[setting.path[-1]]


def _key_path(detail: ErrorDetails) -> KeyPath:
    parts: list[str] = []
    for part in detail["loc"]:
        if not isinstance(part, str):
            break
        parts.append(part)
    return tuple(parts)


def _to_error(detail: ErrorDetails, path: KeyPath, sources: Sources) -> ConfigurationError:
    place = sources.place(path)
    if detail["type"] == "extra_forbidden":
        return ConfigurationError(place, "there is no such setting.", remedy=_suggest(path))
    what = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it should be").rstrip(".")
    given = "" if isinstance(detail["input"], dict | list) else f" {_shown(path, detail['input'])}:"
    return ConfigurationError(
        place, f"{'.'.join(path)} can't be{given} {what}.", remedy=_describe(path) or "Correct the value."
    )


def _shown(path: KeyPath, value: object) -> str:
    return "the URL given" if path == ("database", "url") else ascii(value)[:80]


def _suggest(path: KeyPath) -> str:
    siblings = {setting.key: setting for setting in all_settings()}
    tables = {setting.path[0] for setting in siblings.values()}
    close = difflib.get_close_matches(".".join(path), [*siblings, *tables], 1, 0.6)
    elsewhere = [key for key, setting in siblings.items() if setting.path[-1] == path[-1]]
    if guess := (close or elsewhere)[:1]:
        return f"Did you mean {guess[0]}?"
    return "'arcgate config list' shows all settings."


def _describe(path: KeyPath) -> str:
    return next((f"{one.key}: {one.description}" for one in all_settings() if one.path == path), "")
