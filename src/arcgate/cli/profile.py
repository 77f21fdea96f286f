"""The operator's profile: which cloud, whose tokens, which subscription. A folder of 0600 files.

`ARCGATE_CONFIG_DIR` moves the folder from ~/.arcgate; each folder is a login of its own.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from arcgate.core.errors import StateError
from arcgate.net.files import read_json, write_json

FOLDER_VARIABLE = "ARCGATE_CONFIG_DIR"


@dataclass(frozen=True, slots=True)
class Profile:
    """What isn't secret. URLs are without a trailing slash."""

    endpoint: str = ""
    """The ARM endpoint."""
    address: str = ""
    """HOST:PORT to dial in place of the endpoint's names; empty asks DNS."""
    ca: str = ""
    """PEM of authorities to trust beside the system's."""
    login: str = ""
    """The login endpoint, from the cloud's metadata."""
    audience: str = ""
    tenant_id: str = ""
    subscription_id: str = ""
    subscription_name: str = ""
    user: str = ""
    user_type: str = ""
    """user or servicePrincipal."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is secret. `expires_at` is Unix time."""

    access_token: str = ""
    expires_at: float = 0
    refresh_token: str = ""
    client_id: str = ""
    client_secret: str = ""

    def __repr__(self) -> str:
        return "Tokens(…)"


Kept = TypeVar("Kept", Profile, Tokens)


class ProfileFolder:
    """Reads and writes the files of one profile."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._profile = folder / "profile.json"
        self._tokens = folder / "tokens.json"

    @classmethod
    def find(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the folder that the environment names; raises StateError when there is none to be had."""
        environment = os.environ if environment is None else environment
        if chosen := environment.get(FOLDER_VARIABLE):
            return cls(Path(chosen))
        try:
            return cls(Path.home() / ".arcgate")
        except RuntimeError:
            raise StateError(
                "PROFILE_MISSING", "There is no home folder to keep the login in.", remedy=f"Set {FOLDER_VARIABLE}."
            ) from None

    def load(self) -> Profile:
        """Return the profile, an empty one when there is none."""
        return _read(Profile, self._profile)

    def load_tokens(self) -> Tokens:
        """Return the tokens, empty ones when there are none; refuses a file that others may read."""
        _require_private(self._tokens)
        return _read(Tokens, self._tokens)

    def save(self, profile: Profile) -> None:
        """Write the profile."""
        self._write(self._profile, asdict(profile))

    def save_tokens(self, tokens: Tokens) -> None:
        """Write the tokens."""
        self._write(self._tokens, asdict(tokens))

    def forget(self) -> bool:
        """Remove the tokens and who they were of; say whether there were any. The endpoint stays."""
        had_tokens = self._tokens.exists()
        self._tokens.unlink(missing_ok=True)
        if self._profile.exists():
            kept = replace(self.load(), tenant_id="", subscription_id="", subscription_name="", user="", user_type="")
            self.save(kept)
        return had_tokens

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(path, document)
        except OSError as error:
            raise StateError(
                "PROFILE_UNWRITABLE",
                f"{path} can't be written.",
                cause=error.strerror or str(error),
                remedy=f"Check the folder, or set {FOLDER_VARIABLE} to another one.",
            ) from None


def _read(kind: type[Kept], path: Path) -> Kept:
    document = read_json(path)
    if document is None:
        return kind()
    known = {one.name: (int, float) if one.default == 0 else (str,) for one in fields(kind)}
    if not isinstance(document, dict) or not all(
        isinstance(document[name], types) for name, types in known.items() if name in document
    ):
        raise StateError(
            "PROFILE_DAMAGED", f"{path} is not a profile of ours.", remedy=f"Remove {path} and log in again."
        )
    return kind(**{name: value for name, value in document.items() if name in known})


def _require_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError("PROFILE_UNREADABLE", f"{path} can't be read.", cause=error.strerror or str(error)) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StateError(
            "PROFILE_NOT_PRIVATE",
            f"Others on this host may use {path}.",
            remedy=f"Log out and in again, or make it yours alone: chmod 0600 {path}",
        )
