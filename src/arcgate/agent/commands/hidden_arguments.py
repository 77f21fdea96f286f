"""Keeps secrets given as arguments out of the process list: the command starts itself again without them.

The secrets travel in an anonymous file that only this process holds. Nothing heavy is imported here, so that they
stand in `ps` for as short as possible; a file, the environment or --config never shows them at all.
"""

import json
import os
import sys
from collections.abc import MutableMapping

VARIABLE = "AZCMAGENT_HIDDEN_ARGUMENTS"
"""Names the descriptor of the anonymous file to the second start."""
COMMANDS = frozenset({"connect", "disconnect"})
LONG = ("--service-principal-secret", "--access-token")
SHORT = "-p"
PROXY = "proxy.url"
"""The property of `config set` whose value may hold a password."""
STAND_IN = "***"


def split(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments without secrets, and the secrets by long flag or property; pure."""
    if next((one for one in arguments if not one.startswith("-")), "") == "config":
        return _split_setting(arguments)
    if not COMMANDS & set(arguments):
        return arguments, {}
    shown: list[str] = []
    hidden: dict[str, str] = {}
    waiting = ""
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if waiting:
            hidden[waiting], waiting = argument, ""
        elif name in LONG:
            waiting = "" if separator else name
            if separator:
                hidden[name] = value
        elif argument == SHORT:
            waiting = LONG[0]
        elif argument.startswith(SHORT):
            hidden[LONG[0]] = argument[len(SHORT) :].removeprefix("=")
        else:
            shown.append(argument)
    # A flag without its value stays, for click to complain about.
    return ([*shown, waiting] if waiting else shown), hidden


def _split_setting(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    for place, argument in enumerate(arguments):
        if argument == PROXY and any("@" in value for value in arguments[place + 1 : place + 2]):
            secret = arguments[place + 1]
            return [*arguments[: place + 1], STAND_IN, *arguments[place + 2 :]], {PROXY: secret}
    return arguments, {}


def hide(arguments: list[str], environment: MutableMapping[str, str]) -> dict[str, str]:
    """Return the secrets of the first start; at the first start itself, start again and don't return."""
    descriptor = environment.pop(VARIABLE, "")
    if descriptor:
        return _read(int(descriptor)) if descriptor.isascii() and descriptor.isdigit() else {}
    shown, hidden = split(arguments)
    if hidden and hasattr(os, "memfd_create"):
        inherited = _write(hidden)
        own = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
        os.execve(sys.executable, [*own, *shown], {**environment, VARIABLE: str(inherited)})  # noqa: S606
    if hidden:  # no such files on this system
        sys.argv[1:] = shown
    return hidden


def _write(hidden: dict[str, str]) -> int:
    descriptor = os.memfd_create("arguments", 0)
    os.write(descriptor, json.dumps(hidden).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read(descriptor: int) -> dict[str, str]:
    try:
        with os.fdopen(descriptor, "rb") as file:
            document = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in document.items()} if isinstance(document, dict) else {}
