"""Placeholders of endpoint lists: `<region>`, `<vault>` and others that stand for a part of a label.

Who names them fills them in, each with one or several values. What is left open widens to a star where the
place is the vendor's own (regions); where a customer of the vendor could own the name (vaults, accounts),
the endpoint stays closed until somebody says whose it is.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arcgate.core.errors import InputError

Parameters = Mapping[str, Sequence[str]]
"""Values by the name of the placeholder; the value `*` opens it for everybody's names."""

OPEN = "*"
MOST_FILLED = 1000
"""Endpoints that one line of a list may become."""

_PLACEHOLDER = re.compile(r"<([a-z]{1,30}(?:-[a-z]{1,30})*)>")
_VALUE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|\*)\Z")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A name that stands for a part of an endpoint; `is_open` says whether it may stay unfilled."""

    name: str
    meaning: str
    is_open: bool


def placeholders_in(text: str) -> tuple[str, ...]:
    """Return the names of the placeholders of an endpoint, each once."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))


def check_parameters(parameters: Parameters, known: Mapping[str, Placeholder]) -> None:
    """Raise InputError (PARAMETER_INVALID) for an unknown placeholder or a value that is no part of a label."""
    for name, values in parameters.items():
        if name not in known:
            raise _invalid(f"There is no placeholder {name[:60]!a}.", f"Known are: {', '.join(known)}.")
        for value in values:
            if not _VALUE.match(value):
                raise _invalid(
                    f"{value[:80]!a} is no value of <{name}>.", "Use letters, digits and hyphens, or * for any name."
                )


def filled(text: str, parameters: Parameters, known: Mapping[str, Placeholder]) -> list[str]:
    """Return the patterns that an endpoint becomes; none while a placeholder needs a value and has none."""
    names = placeholders_in(text)
    choices = [tuple(parameters.get(name, ())) or _unfilled(known.get(name)) for name in names]
    combinations = itertools.islice(itertools.product(*choices), MOST_FILLED)
    return list(dict.fromkeys(_fill(text, dict(zip(names, values, strict=True))) for values in combinations))


def _unfilled(placeholder: Placeholder | None) -> tuple[str, ...]:
    return (OPEN,) if placeholder is not None and placeholder.is_open else ()


def _fill(text: str, values: Mapping[str, str]) -> str:
    host, colon, port = _PLACEHOLDER.sub(lambda match: values[match[1]], text).partition(":")
    labels = host.split(".")
    if labels[0] != OPEN:
        return host + colon + port
    # "*.suffix" stands for names at any depth already, so it takes in what stands before another star.
    last = max(index for index, label in enumerate(labels) if OPEN in label)
    return ".".join([OPEN, *labels[last + 1 :]]) + colon + port


def _invalid(sentence: str, remedy: str) -> InputError:
    return InputError("PARAMETER_INVALID", sentence, remedy=remedy)
