"""Notices between nodes of the control plane that share one PostgreSQL database (LISTEN and NOTIFY).

A notice is part of the transaction that it tells of: it comes after the commit, or not at all. It only says
where to look; whoever missed some, since its connection was lost, looks everywhere once it listens again.
"""

import asyncio
import random
import re
import uuid
from collections.abc import Collection
from typing import Any

import psycopg
import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from arcgate.control.changes import Changes
from arcgate.control.store.address import without_secrets
from arcgate.control.store.postgresql import connection_options
from arcgate.net.backoff import Backoff

CHANNEL = "arcgate_changes"
LARGEST_NOTICE = 7000
"""Characters; PostgreSQL takes 7999 bytes."""
FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
"""Seconds until a lost connection is tried again, at first and at most."""

_EVERYTHING = "*"
_NOTICE = re.compile(r"(?P<sender>[0-9a-f]{32}) (?P<topics>[!-~]{1,600}(?: [!-~]{1,600})*)\Z", re.ASCII)

_log = structlog.get_logger(__name__)


class Notices:
    """What this node tells the others, and hears from them."""

    def __init__(self, engine: AsyncEngine, changes: Changes) -> None:
        self._engine = engine
        self._changes = changes
        self._name = uuid.uuid4().hex

    async def tell(self, session: AsyncSession, topics: Collection[str]) -> None:
        """Let the other nodes know of the topics when the session's transaction is committed."""
        if topics:
            await session.execute(select(func.pg_notify(CHANNEL, notice_of(self._name, topics))))

    async def keep_listening(self) -> None:
        """Wake our waiters for what other nodes tell, for ever; a lost connection is made again."""
        backoff = Backoff(random.random, FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                await self._listen(backoff)
            except (psycopg.Error, OSError) as error:
                cause, delay = without_secrets(self._engine.url, str(error)), backoff.next()
                _log.warning("not hearing from other control nodes", cause=cause, retry_in=round(delay, 1))
                await asyncio.sleep(delay)

    async def _listen(self, backoff: Backoff) -> None:
        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        given: dict[str, Any] = {**options, **connection_options(self._engine.url)}
        async with await psycopg.AsyncConnection.connect(*arguments, **given, autocommit=True) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            backoff.reset()
            self._changes.notify_all()
            async for notice in connection.notifies():
                self._hear(notice.payload)

    def _hear(self, payload: str) -> None:
        match = _NOTICE.match(payload)
        if match is None or match["topics"] == _EVERYTHING:
            self._changes.notify_all()
        elif match["sender"] != self._name:
            self._changes.notify(match["topics"].split(" "))


def notice_of(sender: str, topics: Collection[str]) -> str:
    """Return the text of a notice; too many topics are told as all of them."""
    text = f"{sender} {' '.join(sorted(topics))}"
    return text if len(text) <= LARGEST_NOTICE and _NOTICE.match(text) else f"{sender} {_EVERYTHING}"
