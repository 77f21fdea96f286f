"""Where secrets come from: a private file, standard input, the environment or a prompt. Never the command line."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.core.errors import InputError

SECRET_VARIABLE = "ARCGATE_CLIENT_SECRET"  # noqa: S105 - a variable's name
LONGEST_SECRET = 4096


def read_secret(file: str | None, environment: Mapping[str, str], prompt: str = "Client secret") -> str:
    """Return the secret of --password-file (`-`: standard input), the environment, or of whoever sits there."""
    if file == "-":
        return _check(sys.stdin.buffer.read(LONGEST_SECRET + 1), "standard input")
    if file is not None:
        return _check(_read(Path(file)), file)
    if given := environment.get(SECRET_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise InputError(
            "SECRET_NEEDED",
            "There is no secret to log in with.",
            remedy=f"Give it with --password-file FILE, or in the variable {SECRET_VARIABLE}.",
        )
    return str(click.prompt(prompt, hide_input=True, err=True))


def refuse_secret_argument(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Refuse a secret on the command line, where every user of the host can read it."""
    if value is not None:
        raise click.UsageError(
            "a secret on the command line can be read by every user of this host, and stays in the shell's history. "
            f"Use --password-file FILE (or '-' for standard input), the variable {SECRET_VARIABLE}, or the prompt. "
            "If the secret that you have just typed is a real one, make a new one."
        )


def _read(path: Path) -> bytes:
    try:
        file = read_regular_file(path, LONGEST_SECRET)
    except Unreadable as error:
        raise _unusable(path, str(error)) from None
    if file.is_open_to_others:
        raise _unusable(path, f"can be read by others; chmod 0600 {path}")
    if file.owner not in {os.geteuid(), 0}:
        raise _unusable(path, "belongs to somebody else")
    return file.data


def _check(data: bytes, where: str) -> str:
    secret = data.removesuffix(b"\n").removesuffix(b"\r")
    if not secret or len(data) > LONGEST_SECRET or data.startswith(b"\xef\xbb\xbf") or b"\n" in secret:
        raise _unusable(where, f"must hold the secret alone, on one line of at most {LONGEST_SECRET} bytes without BOM")
    try:
        return secret.decode("utf-8")
    except UnicodeDecodeError:
        raise _unusable(where, "is not text in UTF-8") from None


def _unusable(where: object, what: str) -> InputError:
    return InputError("SECRET_UNUSABLE", f"{where} {what}.", remedy="Write the secret into a file of yours alone.")
