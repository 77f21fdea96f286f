"""The agent's packages as files: those that `make packages` made, and one of what runs here, made when asked for."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

from arcgate.control.packages.installer import Package
from arcgate.control.packages.payload import build_archive, digest_line, this_package
from arcgate.core.package_offers import Offer, read_name
from arcgate.net.files import signature_of, write_file


class Shelf:
    """Holds the packages and their checksums for download."""

    def __init__(self, folder: Path, ready: Path) -> None:
        self.package: Package = this_package()
        self._folder = folder
        self._ready = ready
        self._made: frozenset[str] = frozenset()
        self._making = asyncio.Lock()
        self._known: dict[str, tuple[object, Offer]] = {}

    async def find(self, name: str) -> Path | None:
        """Return the file of that name, or None when there is no such file; raises StateError."""
        if name not in self.names:
            return self._ready_file(name)
        async with self._making:
            if not self._made:
                # Made anew by each process: an edited or upgraded installation must not hand out old files.
                self._made = await asyncio.to_thread(self._make)
        return self._folder / name

    async def offers(self) -> list[Offer]:
        """Return the ready packages with their checksums; none when there is no folder of them."""
        return await asyncio.to_thread(self._look)

    async def own_offer(self) -> Offer:
        """Return the package of what runs here, for machines with the same Python; raises StateError."""
        name, sums = self.names
        path = await self.find(sums)
        assert path is not None
        digest = path.read_text(encoding="ascii").partition(" ")[0]
        return Offer(name, self.package.version, "python", self.package.platform, "", digest)

    @property
    def names(self) -> tuple[str, str]:
        """The names of the files that are made here."""
        return self.package.file_name, f"{self.package.file_name}.sha256"

    def _ready_file(self, name: str) -> Path | None:
        # The strict name keeps the path inside of the folder.
        path = self._ready / name
        return path if read_name(name) is not None and path.is_file() else None

    def _look(self) -> list[Offer]:
        try:
            found = sorted(one for one in self._ready.iterdir() if one.is_file())
        except OSError:
            return []
        return [offer for path in found if (offer := self._offer(path)) is not None]

    def _offer(self, path: Path) -> Offer | None:
        offer = read_name(path.name)
        if offer is None:
            return None
        signature = signature_of(path)
        known = self._known.get(path.name)
        if known is None or known[0] != signature:
            with path.open("rb") as file:
                known = signature, replace(offer, sha256=hashlib.file_digest(file, "sha256").hexdigest())
            self._known[path.name] = known
        return known[1]

    def _make(self) -> frozenset[str]:
        archive = build_archive()
        line = digest_line(archive, self.package.file_name).encode()
        for name, content in zip(self.names, (archive, line), strict=True):
            path = self._folder / name
            if not path.exists() or path.read_bytes() != content:
                write_file(path, content)
        return frozenset(self.names)
