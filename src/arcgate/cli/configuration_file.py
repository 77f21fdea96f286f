"""Reads arcgate.toml with suspicion: bounded, never a device or a FIFO, and with the line of every key at hand.

tomllib says nothing about where a key stands, so `find_lines` looks for tables and keys line by line. A key-like
line inside a multi-line string can at worst give a wrong line number, never a wrong value.
"""

import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.core.errors import ConfigurationError, Place

LARGEST_FILE = 1024 * 1024
"""Bytes of a configuration file."""

KeyPath = tuple[str, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_TABLE_LINE = re.compile(rf"[ \t]*\[[ \t]*(?P<key>{_DOTTED})[ \t]*\]")
_KEY_LINE = re.compile(rf"[ \t]*(?P<key>{_DOTTED})[ \t]*=")
_INLINE_KEY = re.compile(rf"[{{,][ \t]*(?P<key>{_DOTTED})[ \t]*=")
_ERROR_LINE = re.compile(r" \(at line (?P<line>[0-9]+), column (?P<column>[0-9]+)\)\Z")


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A parsed file: its document, and the line on which each key stands."""

    name: str
    document: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Return where a key stands, or the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return Place(self.name, self.lines[path[:length]], ".".join(path))
        return Place(self.name, 0, ".".join(path))


def read_configuration_file(path: Path) -> ConfigurationFile:
    """Return the parsed file; raises ConfigurationError with file and line."""
    text = _decode(path, _read(path))
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _syntax_error(path, text, error) from None
    return ConfigurationFile(str(path), document, find_lines(text))


def find_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table and key that a TOML text seems to define."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE_LINE.match(line):
            table = _parts(match["key"])
            lines.setdefault(table, number)
        elif match := _KEY_LINE.match(line):
            key = table + _parts(match["key"])
            lines.setdefault(key, number)
            for inner in _INLINE_KEY.finditer(line, match.end()):
                lines.setdefault(key + _parts(inner["key"]), number)
    return lines


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))


def _read(path: Path) -> bytes:
    try:
        file = read_regular_file(path, LARGEST_FILE)
    except Unreadable as error:
        raise _unusable(path, str(error)) from None
    if file.mode & stat.S_IWOTH:
        raise ConfigurationError(
            Place(str(path)),
            "everybody on this host may write this file.",
            remedy=f"Look through it, then take the right away: chmod o-w {path}",
        )
    return file.data


def _decode(path: Path, data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigurationError(
            Place(str(path), 1), "the file begins with a byte order mark.", remedy="Save it as UTF-8 without BOM."
        )
    if (position := data.find(b"\0")) >= 0:
        raise ConfigurationError(
            Place(str(path), data.count(b"\n", 0, position) + 1),
            "there is a NUL byte in the file.",
            remedy="Save it as plain text in UTF-8.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            Place(str(path), data.count(b"\n", 0, error.start) + 1),
            "the file is not UTF-8.",
            remedy="Save it as UTF-8.",
        ) from None


def _syntax_error(path: Path, text: str, error: Exception) -> ConfigurationError:
    if isinstance(error, RecursionError):
        return ConfigurationError(Place(str(path)), "brackets are nested too deeply.", remedy="Remove the nesting.")
    match = _ERROR_LINE.search(str(error))
    line = int(match["line"]) if match else text.count("\n") + 1
    what = _ERROR_LINE.sub("", str(error)).removesuffix(" (at end of document)")
    return ConfigurationError(Place(str(path), line), f"this is not TOML: {what}.", remedy="Correct this line.")


def _unusable(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        Place(str(path)), f"the configuration file {what}.", remedy="Name a readable TOML file with --config."
    )
