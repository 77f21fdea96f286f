"""Who uses Arc Proxy: whether that user may, and which process it was.

All of it is off the way of a tunnel unless settings ask for it: `Callers.of` returns None when nothing is asked for.
Users and groups may come from a directory on the network, so they are looked up in a thread, and kept for a while.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcgate.agent.platform import Audience
from arcgate.agent.proxy.request_log import RequestRecord
from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError
from arcgate.net.socket_owners import SocketOwners
from arcgate.net.streams import SocketStream
from arcgate.wire.claims import LONGEST_EXECUTABLE, ProcessClaim, format_claim
from arcgate.wire.heads import Fields
from arcgate.wire.socket_diagnosis import SocketOwner

KEPT = 60.0
"""Seconds that we go by what we know of a user."""
MOST_KEPT = 1000
MOST_SEARCHES = 10
"""Searches for a process in a second: each looks through the open files of many. Beyond, users alone are named."""
MOST_PROCESSES = 4096
LONGEST_SEARCH = 0.5
"""Seconds that a tunnel waits for the name of its process when the gateway is told; beyond, the user alone is told."""


@dataclass(frozen=True, slots=True)
class Process:
    """A program that opened a connection, as far as we may see it."""

    pid: int
    executable: str


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine with its groups, by name and by number."""

    name: str
    names: frozenset[str]
    groups: frozenset[str]


class Callers:
    """Knows the clients of Arc Proxy."""

    def __init__(
        self,
        users: Iterable[str] = (),
        groups: Iterable[str] = (),
        *,
        names_users: bool = True,
        names_processes: bool = True,
        claims_processes: bool = False,
        find_user: Callable[[int], User] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Allow these users and groups (names or numbers); with none of both, everybody.

        `claims_processes` is for gateways whose audit names the processes too.
        """
        self._users, self._groups = frozenset(users), frozenset(groups)
        self._names_users, self._names_processes = names_users, names_processes
        self.claims_processes = claims_processes
        self._find_user = find_user or look_up_user
        self._clock = clock
        self._owners = SocketOwners()
        self._known: dict[int, tuple[float, User]] = {}
        self._searches: list[float] = []
        self._last_process: dict[int, int] = {}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Callers | None":
        """Return what the settings ask for, None when that is nothing."""
        users, groups = values.get("arcproxy.allowedusers", []), values.get("arcproxy.allowedgroups", [])
        naming = values.get("arcproxy.log.process", "off")
        claims = values.get("arcproxy.audit.process", False)
        if not users and not groups and naming == "off" and not claims:
            return None
        return cls(
            users,
            groups,
            names_users=naming != "off",
            names_processes=naming == "process",
            claims_processes=claims,
        )

    @property
    def is_restricted(self) -> bool:
        """Whether not everybody may use Arc Proxy."""
        return bool(self._users or self._groups)

    async def require_allowed(self, client: SocketStream) -> None:
        """Raise ArcgateError (CALLER_NOT_ALLOWED) unless the client's user may use Arc Proxy."""
        if not self.is_restricted:
            return
        owner = self._owners.owner_of_peer(client.socket)
        if owner is None:
            raise _refused("an unknown user", "the system does not say whose the connection is")
        # Root could change the list, and the agent's own services use Arc Proxy as well.
        if owner.user_id in {0, os.geteuid()}:
            return
        user = await self._user(owner.user_id)
        allowed = self._users & user.names or (self._groups | {Audience.SERVICES.value}) & user.groups
        if not allowed:
            raise _refused(user.name, "neither the user nor one of its groups is in the lists")

    def name(self, client: SocketStream, record: RequestRecord) -> None:
        """Begin to note in the record who the client is; call it once the client has its answer."""
        if not self._names_users:
            return
        owner = self._owners.owner_of_peer(client.socket)
        if owner is None:
            return
        record.user = str(owner.user_id)
        loop = asyncio.get_running_loop()
        known = self._known.get(owner.user_id)
        if known is not None:
            record.user = known[1].name
        may_search = self._names_processes and not record.process and self._may_search()
        if known is None or may_search:
            found = loop.run_in_executor(None, self._identify, owner, may_search)
            found.add_done_callback(lambda done: _note(done, record))

    async def claim(self, client: SocketStream, record: RequestRecord) -> Fields:
        """Return the field that tells a gateway who the client is, none when the system doesn't say whose it is."""
        owner = self._owners.owner_of_peer(client.socket)
        if owner is None:
            return ()
        process = await self._search(owner) if self._may_search() else None
        if process is None:
            return format_claim(ProcessClaim(owner.user_id))
        if self._names_processes:
            record.process, record.executable = process.pid, process.executable
        return format_claim(ProcessClaim(owner.user_id, process.pid, process.executable))

    async def _search(self, owner: SocketOwner) -> Process | None:
        """Return the owner's process, None when it isn't found in time."""
        search = asyncio.get_running_loop().run_in_executor(None, self._find_process, owner)
        try:
            async with asyncio.timeout(LONGEST_SEARCH):
                return await search
        except TimeoutError:
            return None

    def close(self) -> None:
        """Let go of what is open."""
        self._owners.close()

    def _identify(self, owner: SocketOwner, may_search: bool) -> tuple[User, Process | None]:
        process = self._find_process(owner) if may_search else None
        return self._look_up(owner.user_id), process

    def _find_process(self, owner: SocketOwner) -> Process | None:
        last = self._last_process.get(owner.user_id)
        found = find_process(owner, first=last)
        if found is not None:
            self._last_process = {**dict(list(self._last_process.items())[-64:]), owner.user_id: found.pid}
        return found

    async def _user(self, user_id: int) -> User:
        known = self._known.get(user_id)
        if known is not None and self._clock() < known[0]:
            return known[1]
        return await asyncio.get_running_loop().run_in_executor(None, self._look_up, user_id)

    def _look_up(self, user_id: int) -> User:
        known = self._known.get(user_id)
        if known is not None and self._clock() < known[0]:
            return known[1]
        user = self._find_user(user_id)
        if len(self._known) >= MOST_KEPT:
            self._known = {}
        self._known[user_id] = self._clock() + KEPT, user
        return user

    def _may_search(self) -> bool:
        now = self._clock()
        self._searches = [moment for moment in self._searches if now - moment < 1]
        if len(self._searches) >= MOST_SEARCHES:
            return False
        self._searches.append(now)
        return True


def look_up_user(user_id: int) -> User:
    """Return the user as the system's databases know it; one that they don't know has a number alone."""
    if sys.platform == "win32":
        return User(str(user_id), frozenset({str(user_id)}), frozenset())
    import pwd

    try:
        entry = pwd.getpwuid(user_id)
    except (KeyError, OSError):
        return User(str(user_id), frozenset({str(user_id)}), frozenset())
    numbers = os.getgrouplist(entry.pw_name, entry.pw_gid)
    groups = {str(number) for number in numbers} | {name for number in numbers if (name := _group_name(number))}
    return User(entry.pw_name, frozenset({entry.pw_name, str(user_id)}), frozenset(groups))


def find_process(owner: SocketOwner, first: int | None = None, folder: Path = Path("/proc")) -> Process | None:
    """Return the process that has the socket open; None when we may not see it, or it has gone.

    Only root, and processes of the same user, may see a process's open files.
    """
    wanted = f"socket:[{owner.inode}]"
    if first is not None and _has_open(folder / str(first), wanted):
        return _process(folder / str(first))
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.isascii() and entry.name.isdigit()]
    except OSError:
        return None
    # The newest first: programs that have just begun ask most often.
    for entry in sorted(entries, key=lambda one: int(one.name), reverse=True)[:MOST_PROCESSES]:
        place = Path(entry.path)
        if _is_of(place, owner.user_id) and _has_open(place, wanted):
            return _process(place)
    return None


def _is_of(place: Path, user_id: int) -> bool:
    try:
        return place.stat().st_uid == user_id
    except OSError:
        return False


def _has_open(place: Path, wanted: str) -> bool:
    try:
        with os.scandir(place / "fd") as opened:
            return any(_link(entry.path) == wanted for entry in opened)
    except OSError:
        return False


def _process(place: Path) -> Process:
    return Process(int(place.name), printable(_link(str(place / "exe")), LONGEST_EXECUTABLE))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _group_name(number: int) -> str:
    if sys.platform == "win32":
        return ""
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OSError):
        return ""


def _note(done: "asyncio.Future[tuple[User, Process | None]]", record: RequestRecord) -> None:
    if done.cancelled() or done.exception() is not None:
        return
    user, process = done.result()
    record.user = user.name
    if process is not None:
        record.process, record.executable = process.pid, process.executable


def _refused(who: str, cause: str) -> ArcgateError:
    return ArcgateError(
        "CALLER_NOT_ALLOWED",
        f"Arc Proxy may not be used by {printable(who, 64)}.",
        cause=cause,
        remedy="An administrator can add the user: 'azcmagent config set arcproxy.allowedusers NAME --add'.",
    )
