"""One run of `azcmagent upgrade`: list, choose, fetch, verify, replace; what fails leaves the old agent running."""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.agent.http import problem_of
from arcgate.agent.upgrade.installation import Installation
from arcgate.agent.upgrade.offers import newest, order_of, parse_offers
from arcgate.agent.upgrade.replacement import replace_archive, replace_package, require_version
from arcgate.core.errors import InputError
from arcgate.core.package_offers import Offer
from arcgate.net.http_client import HttpClient
from arcgate.net.tasks import spawn
from arcgate.wire.extension_signature import read_keys
from arcgate.wire.package_index import require_signed

LIST_TIMEOUT = 30
"""Seconds for the list of packages."""
DOWNLOAD_TIMEOUT = 600
"""Seconds for a package."""
UNPACKED = frozenset({"archive", "python"})
"""Kinds of packages that are put in place without a package manager."""
LARGEST_PACKAGE = 256 * 1024 * 1024
"""Bytes."""


@contextmanager
def _open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="azcmagent-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # package managers read as users of their own
        yield folder


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Upgrades what is installed from the packages host at `base`. `progress` takes percent, `tell` a line.

    With `keys` (base64), one of them must have signed the host's list.
    """

    installed: Installation
    http: HttpClient
    base: str
    tell: Callable[[str], None]
    progress: Callable[[int], None]
    keys: Sequence[str] = ()

    async def run(self, wanted: str = "") -> str:
        """Return the version that is installed at the end; raises AzcmError, HopError or InputError."""
        offers = await self._list()
        self.progress(10)
        offer = self._choose(offers, wanted)
        if offer is None:
            return self.installed.version
        self.tell(f"Upgrading from version {self.installed.version} to {offer.version}")
        with _open_folder() as folder:
            file = await self._fetch(offer, folder)
            self.progress(60)
            before = await self._fetch_before(offer, offers, folder)
            await self._to_its_end(self._replace(offer, file, before))
        self.progress(100)
        return offer.version

    async def _list(self) -> list[Offer]:
        index = await self._get_list("index.json")
        if self.keys:
            await self._require_signed(index)
        try:
            return parse_offers(json.loads(index))
        except (ValueError, RecursionError):
            raise InputError("PACKAGES_INVALID", "The packages host's list can't be read.") from None

    async def _require_signed(self, index: bytes) -> None:
        signatures = await self._get_list("index.json.sig")
        try:
            require_signed(index, signatures, read_keys(self.keys))
        except InputError as error:
            raise AzcmError(101, error.sentence, cause=error.cause, remedy=error.remedy) from None

    async def _get_list(self, name: str) -> bytes:
        answer = await self.http.request("GET", f"{self.base}/packages/azcmagent/{name}", timeout=LIST_TIMEOUT)
        if answer.status == 404 and self.keys:
            return b""  # what is not there is not signed
        if not answer.is_success:
            raise AzcmError(26, "The packages host does not list its packages.", cause=problem_of(answer).message)
        return answer.body

    def _choose(self, offers: list[Offer], wanted: str) -> Offer | None:
        """Return what is to be installed, None when it is installed already."""
        here = self.installed
        offer = newest(offers, here.kind, here.machine, here.libc, wanted)
        if offer is None:
            raise AzcmError(
                3,
                f"The cloud has no package for this machine{f' of version {wanted}' if wanted else ''}.",
                cause=f"installed is one of the kind {here.kind} for {here.machine} {here.libc}".rstrip(),
                remedy="Ask the cloud's operator to offer it, or run the cloud's installer.",
            )
        is_older = order_of(offer.version) < order_of(here.version)
        return None if offer.version == here.version or (is_older and not wanted) else offer

    async def _fetch(self, offer: Offer, folder: Path) -> Path:
        answer = await self.http.request(
            "GET",
            f"{self.base}/packages/azcmagent/{offer.name}",
            timeout=DOWNLOAD_TIMEOUT,
            largest_answer=LARGEST_PACKAGE,
        )
        if not answer.is_success:
            raise AzcmError(26, f"The package {offer.name} can't be had.", cause=problem_of(answer).message)
        if hashlib.sha256(answer.body).hexdigest() != offer.sha256:
            raise AzcmError(
                101,
                f"The package {offer.name} does not have the checksum that the cloud gives for it.",
                remedy="Try again; if it stays so, look for who changes it on its way.",
            )
        file = folder / offer.name
        file.write_bytes(answer.body)
        return file

    async def _to_its_end(self, work: Coroutine[None, None, None]) -> None:
        """Go on although somebody cancels: half of a replacement is no agent."""
        task = spawn("replace the agent", _outcome(work))
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                self.tell("The agent is being replaced, which can't be cancelled any more.")
        if (error := task.result()) is not None:
            raise error

    async def _replace(self, offer: Offer, file: Path, before: Path | None) -> None:
        if offer.kind in UNPACKED:
            await asyncio.to_thread(replace_archive, self.installed, offer, file, self.tell)
            return
        try:
            await asyncio.to_thread(replace_package, offer.kind, file)
            await asyncio.to_thread(require_version, self.installed.program, offer.version)
        except AzcmError:
            if before is not None:
                await asyncio.to_thread(replace_package, offer.kind, before)
                self.tell(f"Rolled back to version {self.installed.version}")
            raise

    async def _fetch_before(self, new: Offer, offers: list[Offer], folder: Path) -> Path | None:
        """Return the package of what is installed, to go back to; None when the cloud has it no more."""
        here = self.installed
        if new.kind in UNPACKED:
            return None  # the old folder stays until the new one has answered
        try:
            offer = newest(offers, here.kind, here.machine, here.libc, here.version)
        except InputError as error:
            raise as_azcm(error, 2) from None
        return await self._fetch(offer, folder) if offer is not None and offer.version == here.version else None


async def _outcome(work: Coroutine[None, None, None]) -> AzcmError | None:
    """Return what the work raised as a value: it is told to the person, and no crash of a task."""
    try:
        await work
    except AzcmError as error:
        return error
    return None
