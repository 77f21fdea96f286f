"""Packages of extensions as files: each with its signed description beside it, which machines verify themselves."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from arcgate.core.configuration import Configuration
from arcgate.core.errors import InputError, StateError
from arcgate.core.extension_packages import LARGEST_DESCRIPTION, PackageDescription
from arcgate.net.files import signature_of
from arcgate.wire.catalogue_bundle import read_public_key
from arcgate.wire.extension_signature import SignedPackage, key_text

_log = structlog.get_logger(__name__)

PUBLISHER_FILE = "publisher.pem"
"""The key beside the packages that counts when the configuration names none."""


def extensions_folder(configuration: Configuration) -> Path:
    """Return the folder of the packages."""
    return configuration.control.extensions_folder or configuration.state_dir / "extensions"


def publisher_keys(configuration: Configuration) -> list[str]:
    """Return the trusted publishers' keys in base64; raises StateError (PUBLISHER_KEY_UNUSABLE)."""
    named = configuration.control.extension_keys
    beside = extensions_folder(configuration) / PUBLISHER_FILE
    files: Sequence[Path] = named or ((beside,) if beside.is_file() else ())
    try:
        return [key_text(read_public_key(file.read_bytes())) for file in files]
    except (OSError, InputError) as error:
        raise StateError(
            "PUBLISHER_KEY_UNUSABLE",
            "A publisher's key can't be read.",
            cause=str(error),
            remedy="Look at the files of control.extension_keys, or at publisher.pem in the folder of extensions.",
        ) from None


class ExtensionShelf:
    """Holds the packages of a folder for download; files may come and go while it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[object, SignedPackage | None]] = {}

    async def listed(self) -> list[dict[str, str]]:
        """Return the signed descriptions of the packages that are there."""
        return await asyncio.to_thread(self._look)

    async def find(self, name: str) -> Path | None:
        """Return the package of that name, None when there is none."""
        # Only names that a look at the folder has found lead to files: none can lead out of it.
        found = {_file_name(SignedPackage.from_json(one)) for one in await self.listed()}
        return self._folder / name if name in found else None

    def _look(self) -> list[dict[str, str]]:
        try:
            files = sorted(self._folder.glob("*.zip.json"))
        except OSError:
            return []
        found = [one for file in files if (one := self._read(file)) is not None]
        return [one.to_json() for one in found if (self._folder / _file_name(one)).is_file()]

    def _read(self, file: Path) -> SignedPackage | None:
        signature = signature_of(file)
        known = self._known.get(file.name)
        if known is None or known[0] != signature:
            known = signature, _parse(file)
            self._known[file.name] = known
        return known[1]


def _parse(file: Path) -> SignedPackage | None:
    try:
        with file.open("rb") as opened:
            document: Any = json.loads(opened.read(4 * LARGEST_DESCRIPTION))
        one = SignedPackage.from_json(document)
        if _file_name(one) + ".json" != file.name:
            raise ValueError("it describes another package")
    except (OSError, ValueError, InputError, RecursionError) as error:
        _log.warning("a package of an extension is not offered", file=str(file), cause=str(error)[:200])
        return None
    return one


def _file_name(package: SignedPackage) -> str:
    return PackageDescription.from_text(package.text).file_name
