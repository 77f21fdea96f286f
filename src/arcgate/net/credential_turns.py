"""Who may send credentials to a proxy, and when: one at a time while nobody knows that they are right, then everybody.

Once a proxy has refused them, nobody until the pause is over (`core.credential_pauses`). Other processes of the machine
may know of refusals too: `Refused` is what they share.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from arcgate.core.credential_pauses import CredentialRecord, Refusals

Credentials = tuple[str, ...]
"""A proxy's origin, and all that it judges: user, password, key table. Empty where there is no secret."""


class Refused(Protocol):
    """Refusals by credentials; its calls may take a while."""

    def look(self, credentials: Credentials) -> Refusals:
        """Return how often the credentials were refused since they were accepted."""
        ...

    def add(self, credentials: Credentials, now: float) -> Refusals:
        """Note a refusal and return them all."""
        ...

    def clear(self, credentials: Credentials) -> None:
        """Note that the credentials were accepted."""
        ...


class OwnRefused:
    """Refusals that this process alone knows of."""

    def __init__(self) -> None:
        self._known: dict[Credentials, Refusals] = {}

    def look(self, credentials: Credentials) -> Refusals:
        """See Refused."""
        return self._known.get(credentials, Refusals())

    def add(self, credentials: Credentials, now: float) -> Refusals:
        """See Refused."""
        self._known[credentials] = self.look(credentials).another(now)
        return self._known[credentials]

    def clear(self, credentials: Credentials) -> None:
        """See Refused."""
        self._known.pop(credentials, None)


class CredentialsPaused(Exception):
    """The credentials are not sent now: they were refused `refusals` times; `next_try` is in seconds since 1970."""

    def __init__(self, next_try: float, refusals: int) -> None:
        super().__init__("credentials are paused")
        self.next_try = next_try
        self.refusals = refusals


@dataclass(slots=True)
class _Known:
    record: CredentialRecord = field(default_factory=CredentialRecord)
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Turn:
    """The right to send credentials for one request; give it back."""

    began: float
    _target: str
    _credentials: Credentials
    _known: _Known
    _turns: "CredentialTurns"
    _is_alone: bool

    async def accepted(self) -> None:
        """Say that the proxy took the credentials."""
        was_proven = self._known.record.is_proven
        self._known.record.accepted(self._target)
        if not was_proven:
            await asyncio.to_thread(self._turns.refused.clear, self._credentials)
        self.give_back()

    async def was_refused(self) -> float:
        """Say that the proxy refused the credentials; return when they may be sent for this target again."""
        now = self._turns.clock()
        if self._known.record.refused(self._target, self.began, now):
            self._known.record.everything = await asyncio.to_thread(self._turns.refused.add, self._credentials, now)
        self.give_back()
        return self._known.record.next_try(self._target, now)

    def give_back(self) -> None:
        """Let others go on."""
        if self._is_alone:
            self._is_alone = False
            self._known.alone.release()


@dataclass(slots=True)
class CredentialTurns:
    """Gives turns. `clock` is the time of day in seconds since 1970, which all processes share."""

    refused: Refused = field(default_factory=OwnRefused)
    clock: Callable[[], float] = time.time
    _known: dict[Credentials, _Known] = field(default_factory=dict, repr=False)

    async def take(self, credentials: Credentials, target: str, limit: float) -> Turn:
        """Return a turn; raises CredentialsPaused.

        Waits while another request finds out whether the credentials are right, for `limit` seconds at most: what
        holds that one up may be its target alone.
        """
        known = self._known.setdefault(credentials, _Known())
        is_alone = not known.record.is_proven and await _acquired(known.alone, limit)
        if is_alone and known.record.is_proven:
            known.alone.release()
            is_alone = False
        try:
            if not known.record.is_proven:
                known.record.everything = await asyncio.to_thread(self.refused.look, credentials)
            now = self.clock()
            if next_try := known.record.next_try(target, now):
                raise CredentialsPaused(next_try, known.record.everything.count)
        except BaseException:
            if is_alone:
                known.alone.release()
            raise
        return Turn(now, target, credentials, known, self, is_alone)


async def _acquired(lock: asyncio.Lock, limit: float) -> bool:
    try:
        async with asyncio.timeout(limit):
            return await lock.acquire()
    except TimeoutError:
        return False
