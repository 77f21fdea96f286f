"""The published entries, kept in memory so that thousands of waiting machines don't each read the database.

A change of this process is seen by its topic, one of another control node by its notice, and where none comes
after `LONGEST_AGE` at the latest.
Removed keys are kept: their revisions count in goals.
"""

import asyncio
from collections.abc import Iterable

from sqlalchemy import select

from arcgate.control.changes import ENTRIES, Changes, Ticket
from arcgate.control.store import Store
from arcgate.control.store.database import read_revision
from arcgate.control.store.models import EntryRow
from arcgate.core.snapshot import Entry, Kind

LONGEST_AGE = 1.0
"""Seconds until the database is asked again, even when no change was announced."""


class Published:
    """Entries by kind and key, as they are in the database now."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self.revision = 0
        self._store = store
        self._changes = changes
        self._entries: dict[Kind, dict[str, Entry]] = {kind: {} for kind in Kind}
        self._ticket: Ticket | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    def find(self, kind: Kind, key: str) -> Entry | None:
        """Return the entry, which may be a removed one, or None."""
        return self._entries[kind].get(key)

    def all_of(self, *kinds: Kind) -> Iterable[Entry]:
        """Return all entries of the kinds, removed ones included."""
        return [entry for kind in kinds for entry in self._entries[kind].values()]

    async def refresh(self, at_least: int = 0) -> None:
        """Read what is new, once for everybody who asks at the same time.

        Somebody who knows of revision `at_least` has it from another node, or from a database since restored:
        then what we have is not fresh enough, however young it is.
        """
        if self._is_fresh(at_least):
            return
        async with self._reading:
            if not self._is_fresh(at_least):
                await self._read()

    def _is_fresh(self, at_least: int) -> bool:
        age = asyncio.get_running_loop().time() - self._read_at
        return self.revision >= at_least and self._ticket == self._changes.ticket(ENTRIES) and age < LONGEST_AGE

    async def _read(self) -> None:
        ticket, moment = self._changes.ticket(ENTRIES), asyncio.get_running_loop().time()
        async with self._store.read() as session:
            rows = (await session.execute(select(EntryRow).where(EntryRow.revision > self.revision))).scalars().all()
            newest = await read_revision(session)
        for row in rows:
            kind = Kind(row.kind)
            self._entries[kind][row.key] = Entry(kind, row.key, row.revision, row.body)
        self.revision, self._ticket, self._read_at = newest, ticket, moment
