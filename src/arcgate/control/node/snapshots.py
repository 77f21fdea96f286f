"""Snapshots for nodes: all entries above the revision that a node has, at once or as soon as there are any."""

import asyncio
from typing import Any

from arcgate.control.changes import ENTRIES
from arcgate.control.context import ControlContext
from arcgate.control.store.database import read_entries
from arcgate.core.snapshot import Entry


async def newer_entries(context: ControlContext, after: int, wait: float) -> dict[str, Any] | None:
    """Return the answer with the entries above `after`, or None when `wait` seconds pass without any.

    A node that is ahead of us has seen a database that was restored since: it gets everything, as a reset.
    """
    end = asyncio.get_running_loop().time() + wait
    while True:
        ticket = context.changes.ticket(ENTRIES)
        async with context.store.read() as session:
            newest, entries = await read_entries(session, after)
            if after > newest:
                newest, entries = await read_entries(session, 0)
                return {**_document(newest, entries), "reset": True}
        if entries:
            return _document(newest, entries)
        left = end - asyncio.get_running_loop().time()
        if left <= 0 or not await context.changes.wait(ticket, left):
            return None


def _document(revision: int, entries: list[Entry]) -> dict[str, Any]:
    return {"revision": revision, "entries": [entry.to_json() for entry in entries]}
