"""One property of `azcmagent config`: how its values are written, read and shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from arcgate.agent.errors import AzcmError
from arcgate.core.errors import InputError

LONGEST_VALUE = 8192
"""Characters of a value that `set` takes."""

_INTEGER = re.compile(r"[0-9]{1,6}\Z")


class Kind(StrEnum):
    """What a property's value is."""

    TEXT = "text"
    CHOICE = "choice"
    BOOLEAN = "true or false"
    INTEGER = "number"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Property:
    """One property. `check` raises InputError or ValueError on a text (for lists: an item) that is not acceptable."""

    name: str
    kind: Kind
    default: Any
    help: str
    allowed: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    check: Callable[[str], object] | None = None
    look: Callable[[str], object] | None = None
    """As `check`, for what the text names: asked when a person sets it, not each time that it is read."""
    has_effect: bool = True
    """False for properties that are kept for scripts of the original's, while nothing of ours acts on them yet."""

    @property
    def values(self) -> str:
        """What may be set, in words."""
        return ", ".join(self.allowed) or (f"{self.least} to {self.most}" if self.most else str(self.kind))

    def parse(self, text: str) -> Any:
        """Return the value that a person wrote; raises AzcmError 23."""
        if len(text) > LONGEST_VALUE or not text.isprintable():
            raise self._refused("a longer text than allowed, or one with control characters", "")
        match self.kind:
            case Kind.LIST:
                return self.parse_items(text)
            case Kind.BOOLEAN:
                return self._choice(text, ("true", "false")) == "true"
            case Kind.INTEGER:
                return self._integer(text)
            case Kind.CHOICE:
                return self._choice(text, self.allowed)
            case _:
                return self._checked(text)

    def parse_items(self, text: str) -> list[str]:
        """Return the items of a comma separated list, each once; raises AzcmError 23."""
        items: list[str] = []
        for part in text.split(","):
            item = part.strip()
            if item and item not in items:
                items.append(self._checked(item))
        return items

    def look_at(self, text: str) -> None:
        """Look at what a text names that a person sets; raises AzcmError 23."""
        if self.look is not None and text:
            self._refuse_unless(self.look, text)

    def is_valid(self, value: Any) -> bool:
        """Say whether a stored value is one that `parse` could have made."""
        try:
            return bool(self.parse(self.format(value)) == value)
        except AzcmError:
            return False

    def format(self, value: Any) -> str:
        """Return a value as `parse` reads it."""
        if isinstance(value, list):
            return ",".join(str(item) for item in value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def show(self, value: Any) -> str:
        """Return a value as `config list` prints it: lists in brackets."""
        return f"[{' '.join(str(item) for item in value)}]" if isinstance(value, list) else self.format(value)

    def _choice(self, text: str, allowed: tuple[str, ...]) -> str:
        if text not in allowed:
            raise self._refused(f"{text!r}", f"Choose one of: {', '.join(allowed)} (written exactly so).")
        return text

    def _integer(self, text: str) -> int:
        number = int(text) if _INTEGER.match(text) else None
        if number is None or not self.least <= number <= self.most:
            raise self._refused(f"{text!r}", f"Give a whole number from {self.least} to {self.most}.")
        return number

    def _checked(self, text: str) -> str:
        if self.check is not None and text:
            self._refuse_unless(self.check, text)
        return text

    def _refuse_unless(self, check: Callable[[str], object], text: str) -> None:
        try:
            check(text)
        except InputError as error:
            raise AzcmError(
                23, f"{error.sentence} It can't be a value of {self.name}.", cause=error.cause, remedy=error.remedy
            ) from None
        except ValueError as error:
            raise self._refused(f"{text!r}", str(error)) from None

    def _refused(self, what: str, remedy: str) -> AzcmError:
        return AzcmError(23, f"{what} is not a value of {self.name}.", remedy=remedy)
