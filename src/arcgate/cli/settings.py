"""Every setting of the configuration model as a row: what `config list`, the example and the reference show."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from arcgate.core.configuration import Configuration, Section
from arcgate.core.urls import redact

ENVIRONMENT_PREFIX = "ARCGATE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its path in the file, its default and what it means."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    description: str

    @property
    def key(self) -> str:
        """The dotted key, as `gateway.workers`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that overrides it, as `ARCGATE_GATEWAY__WORKERS`."""
        return ENVIRONMENT_PREFIX + "__".join(self.path).upper()

    @property
    def kind(self) -> str:
        """Its type in words."""
        return _kind(self.annotation)

    def value_in(self, configuration: Configuration) -> Any:
        """Return what the configuration has for it."""
        value: Any = configuration
        for part in self.path:
            value = getattr(value, part)
        return value


@dataclass(frozen=True, slots=True)
class Table:
    """A table of arcgate.toml with its settings; the name is empty for the top level."""

    name: str
    description: str
    settings: tuple[Setting, ...]


def tables() -> list[Table]:
    """Return all settings by table, the top level first, in the model's order."""
    top = Table("", "", tuple(_settings_of(Configuration, ())))
    sections = [
        Table(name, (section.__doc__ or "").strip(), tuple(_settings_of(section, (name,))))
        for name, section in _sections()
    ]
    return [top, *sections]


def all_settings() -> list[Setting]:
    """Return every setting in the model's order."""
    return [setting for table in tables() for setting in table.settings]


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for name, info in Configuration.model_fields.items():
        if _is_section(info):
            yield name, info.annotation  # type: ignore[misc]


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, Section)


def _settings_of(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        if not _is_section(info):
            default = info.get_default(call_default_factory=True, validated_data={})
            yield Setting((*prefix, name), info.annotation, default, info.description or "")


def to_toml(value: Any) -> str:
    """Return a setting's value as TOML; None, which TOML lacks, as an empty text."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value)) if float(value).is_integer() else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quote(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    return _quote(redact(str(value)))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in escaped) + '"'


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(annotation))
    if origin is tuple:
        return "list of " + {"text": "texts"}.get(inner := _kind(get_args(annotation)[0]), inner + "s")
    if origin is dict:
        return "table of texts"
    if origin in {Union, types.UnionType}:
        return next(_kind(one) for one in get_args(annotation) if one is not type(None))
    names = {str: "text", int: "number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, "network")
