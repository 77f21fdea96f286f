"""The hosts file: names that need no DNS."""

from ipaddress import ip_address
from pathlib import Path

from arcgate.core.names import Address


class HostsFile:
    """A hosts file, read anew when it has changed: every tunnel asks, and looking is cheaper than reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: tuple[int, ...] = ()
        self._names: dict[str, list[Address]] = {}

    def look_up(self, host: str) -> list[Address]:
        """Return the addresses of a name, none when it is not there or the file can't be read."""
        try:
            facts = self._path.stat()
            state = facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
            if state != self._state:
                self._names = _parse_hosts(self._path.read_text(encoding="utf-8", errors="replace"))
                self._state = state
        except OSError:
            return []
        return self._names.get(host, [])


def _parse_hosts(text: str) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        try:
            address = ip_address(fields[0].partition("%")[0]) if fields else None
        except ValueError:
            continue
        for name in dict.fromkeys(name.lower() for name in fields[1:]):
            if address is not None:
                found.setdefault(name, []).append(address)
    return found
