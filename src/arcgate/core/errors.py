"""The tree of errors that may reach a user.

    ArcgateError              code, sentence, cause, remedy
    ├── InputError            what somebody gave us is wrong: a flag, a name, a request
    │   └── ConfigurationError    ... in a configuration file: says file, line and key
    ├── HopError              one hop of the path to a target failed (see `Hop`)
    └── StateError            our own files or database are not as they must be

Every one prints as one line without a trace. Anything else that escapes is a defect of ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class ArcgateError(Exception):
    """An error with a stable code, a sentence, its cause and what to do about it."""

    def __init__(self, code: str, sentence: str, *, cause: str = "", remedy: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.cause = cause
        self.remedy = remedy

    def one_line(self) -> str:
        """Return code, sentence, cause and remedy on one line, fit for a terminal or a log."""
        parts = [f"{self.code}: {self.sentence}"]
        if self.cause:
            parts.append(f"Cause: {self.cause}")
        if self.remedy:
            parts.append(f"Remedy: {self.remedy}")
        return " ".join(" ".join(parts).split())


class InputError(ArcgateError):
    """Something that a person or a peer gave us is malformed or not acceptable."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a configuration file something stands; `line` counts from 1, 0 when unknown."""

    file: str
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where} ({self.key})" if self.key else where


class ConfigurationError(InputError):
    """A configuration file or environment variable holds something that we can't use."""

    def __init__(self, place: Place, sentence: str, *, remedy: str = "") -> None:
        super().__init__("CONFIGURATION_INVALID", f"{place}: {sentence}", remedy=remedy)
        self.place = place


class StateError(ArcgateError):
    """A file or database of ours is missing, damaged or not readable."""


class Hop(StrEnum):
    """The hops of the path to a target, in order; `azcmagent check` names the one that fails."""

    DNS = "DNS"
    TCP = "TCP"
    PROXY = "proxy"
    PROXY_AUTHENTICATION = "proxy authentication"
    TLS = "TLS"
    GATEWAY = "gateway"
    POLICY = "policy"
    TARGET = "target"


class HopError(ArcgateError):
    """One hop of a path failed; nothing beyond it was tried."""

    def __init__(self, hop: Hop, code: str, sentence: str, *, cause: str = "", remedy: str = "") -> None:
        super().__init__(code, sentence, cause=cause, remedy=remedy)
        self.hop = hop
