"""The agent's package as files below state_dir, made when it is first asked for."""

import asyncio
from pathlib import Path

from arcgate.control.packages.installer import Package
from arcgate.control.packages.payload import build_archive, digest_line, this_package
from arcgate.net.files import write_file


class Shelf:
    """Holds the package and its checksum for download."""

    def __init__(self, folder: Path) -> None:
        self.package: Package = this_package()
        self._folder = folder
        self._made: frozenset[str] = frozenset()
        self._making = asyncio.Lock()

    async def find(self, name: str) -> Path | None:
        """Return the file of that name, or None when there is no such file; raises StateError."""
        if name not in self.names:
            return None
        async with self._making:
            if not self._made:
                # Made anew by each process: an edited or upgraded installation must not hand out old files.
                self._made = await asyncio.to_thread(self._make)
        return self._folder / name

    @property
    def names(self) -> tuple[str, str]:
        """The names of the files on the shelf."""
        return self.package.file_name, f"{self.package.file_name}.sha256"

    def _make(self) -> frozenset[str]:
        archive = build_archive()
        line = digest_line(archive, self.package.file_name).encode()
        for name, content in zip(self.names, (archive, line), strict=True):
            path = self._folder / name
            if not path.exists() or path.read_bytes() != content:
                write_file(path, content)
        return frozenset(self.names)
