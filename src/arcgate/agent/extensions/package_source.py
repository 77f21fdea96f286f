"""Fetches packages of extensions from the cloud's packages host, and lets through what a trusted publisher signed."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from arcgate.agent.extensions.folders import HandlerFolders
from arcgate.agent.extensions.unpacking import unpack
from arcgate.agent.http import problem_of
from arcgate.core.errors import InputError
from arcgate.core.extension_goals import ExtensionGoal
from arcgate.core.extension_packages import LARGEST_PACKAGE, PackageDescription, choose
from arcgate.core.handler_documents import read_manifest
from arcgate.net.http_client import Answer, HttpClient
from arcgate.wire.extension_signature import PublicKeys, parse_list, read_keys, require_content

_log = structlog.get_logger(__name__)

LIST_TIMEOUT = 30
"""Seconds for the list of packages."""
DOWNLOAD_TIMEOUT = 900
"""Seconds for a package."""

TellsKeys = Callable[[], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class PackageSource:
    """The packages host at `base`; `keys` tells the publishers' keys in base64, `machine` what `uname -m` says."""

    http: HttpClient
    base: str
    keys: TellsKeys
    machine: str

    async def choose(self, goal: ExtensionGoal) -> PackageDescription:
        """Return the package that the goal wants; raises HopError or InputError."""
        answer = await self.http.request("GET", f"{self.base}/packages/extensions/index.json", timeout=LIST_TIMEOUT)
        keys = read_keys(await self.keys())
        offers, untrusted = self._verified(_success(answer, "The packages host does not list its extensions."), keys)
        if (found := choose(offers, goal, self.machine)) is not None:
            return found
        # Not trusted is another thing than not there.
        if choose(untrusted, goal, self.machine) is not None:
            raise InputError(
                "PACKAGE_UNTRUSTED",
                f"No trusted publisher has signed a package of {goal.publisher}/{goal.type} that fits.",
                remedy="Compare the publisher's key with control.extension_keys of the server and "
                "extensions.publisherkeys of this machine.",
            )
        raise InputError(
            "PACKAGE_NOT_FOUND",
            f"The packages host has no {goal.publisher}/{goal.type} {goal.version or ''}".rstrip()
            + f" for {self.machine}.",
            remedy="Put the package into the server's folder of extensions, or want another version.",
        )

    def _verified(self, answer: Answer, keys: PublicKeys) -> tuple[list[PackageDescription], list[PackageDescription]]:
        trusted, others = [], []
        for one in parse_list(answer.json()):
            try:
                trusted.append(one.verified(keys))
            except InputError as error:
                _log.warning("a package on offer is left out", cause=error.one_line())
                try:
                    others.append(PackageDescription.from_text(one.text))
                except InputError:
                    continue
        return trusted, others

    async def fetch(self, description: PackageDescription, folders: HandlerFolders) -> None:
        """Unpack the package where its version belongs; raises HopError, InputError or OSError."""
        answer = await self.http.request(
            "GET",
            f"{self.base}/packages/extensions/{description.file_name}",
            timeout=DOWNLOAD_TIMEOUT,
            largest_answer=LARGEST_PACKAGE,
        )
        content = _success(answer, f"The package {description.file_name} can't be had.").body
        require_content(description, content)
        await asyncio.to_thread(_unpack, content, folders)


def _unpack(content: bytes, folders: HandlerFolders) -> None:
    folders.extension.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folders.extension) as name:
        archive, fresh = Path(name, "package.zip"), Path(name, "content")
        archive.write_bytes(content)
        unpack(archive, fresh)
        manifest = fresh / "HandlerManifest.json"
        if not manifest.is_file():
            raise InputError("PACKAGE_INVALID", "The extension's package holds no HandlerManifest.json.")
        read_manifest(manifest.read_bytes())
        fresh.rename(folders.version)
    folders.prepare()


def _success(answer: Answer, sentence: str) -> Answer:
    if not answer.is_success:
        raise InputError("PACKAGE_NOT_FOUND", sentence, cause=problem_of(answer).message)
    return answer
