"""Tokens of the machine's identity: fetched once for all who ask, kept until they near their end."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from arcgate.agent.agent_service import AgentService, IdentityToken
from arcgate.agent.http import ServiceRefusal
from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError, InputError
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

EARLY = 300
"""Seconds before its end when a token is replaced, if that can be done."""
RETRY = 10.0
"""Seconds that a token which could not be replaced is given out without a further try."""
MOST_RESOURCES = 100
"""Resources whose tokens are kept; the least recently asked for goes first."""
MOST_FETCHES = 60
"""Tokens that are fetched within FETCH_PERIOD: the service counts a machine's requests, heartbeats among them."""
FETCH_PERIOD = 60.0


@dataclass(slots=True)
class _Kept:
    token: IdentityToken | None = None
    retry_at: float = 0
    fetching: "asyncio.Task[IdentityToken | Exception] | None" = None


@dataclass(slots=True)
class IdentityTokens:
    """The tokens of one identity. `clock` is the machine's time, `monotonic` tells seconds."""

    service: AgentService
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)
    _fetches: deque[float] = field(default_factory=deque)

    async def token(self, resource: str, *, bypass_cache: bool = False) -> IdentityToken:
        """Return a token for the resource; raises HopError, ServiceRefusal or InputError when there is none."""
        kept = self._entry(resource)
        if not bypass_cache and kept.token is not None and self._is_good(kept):
            return kept.token
        if kept.fetching is None:
            kept.fetching = spawn("fetch a token", self._fetch(kept, resource))
        outcome = await self._outcome(kept.fetching)
        if isinstance(outcome, IdentityToken):
            return outcome
        if not bypass_cache and kept.token is not None and self.seconds_left(kept.token) > 0:
            return kept.token
        raise outcome

    @staticmethod
    async def _outcome(fetching: "asyncio.Task[IdentityToken | Exception]") -> IdentityToken | Exception:
        """Wait for what others may wait for too; that the identity ends meanwhile must not look like our own end."""
        await asyncio.wait({fetching})
        return identity_ended() if fetching.cancelled() else fetching.result()

    def seconds_left(self, token: IdentityToken) -> int:
        """Return how long the token is still good for, by the server's clock."""
        return int(token.expires_on - (self.clock() + self.service.clock_offset).timestamp())

    async def close(self) -> None:
        """Stop fetching."""
        await cancel(*(kept.fetching for kept in self._kept.values() if kept.fetching is not None))

    def _entry(self, resource: str) -> _Kept:
        kept = self._kept.setdefault(resource, _Kept())
        self._kept.move_to_end(resource)
        idle = [name for name, one in self._kept.items() if one.fetching is None and one is not kept]
        for name in idle[: max(0, len(self._kept) - MOST_RESOURCES)]:
            del self._kept[name]
        return kept

    def _is_good(self, kept: _Kept) -> bool:
        assert kept.token is not None
        left = self.seconds_left(kept.token)
        return left > EARLY or (left > 0 and self.monotonic() < kept.retry_at)

    async def _fetch(self, kept: _Kept, resource: str) -> IdentityToken | Exception:
        try:
            self._count()
            kept.token = await self.service.token(resource)
        except (ArcgateError, OSError) as error:
            _log.warning("no token could be fetched", resource=printable(resource, 200), cause=str(error))
            if not _will_pass(error):
                kept.token = None
            kept.retry_at = self.monotonic() + RETRY
            return error
        finally:
            kept.fetching = None
        _log.info("a token was fetched", resource=resource, seconds=self.seconds_left(kept.token))
        return kept.token

    def _count(self) -> None:
        now = self.monotonic()
        while self._fetches and self._fetches[0] <= now - FETCH_PERIOD:
            self._fetches.popleft()
        if len(self._fetches) >= MOST_FETCHES:
            raise InputError("TooManyRequests", "Programs of this machine ask for too many tokens; wait a minute.")
        self._fetches.append(now)


def _will_pass(error: Exception) -> bool:
    """Say whether the token that we have may still be good: nobody has said that the machine may have none."""
    return not isinstance(error, ServiceRefusal) or error.status >= 500 or error.status == 429


def identity_ended() -> InputError:
    """Return the error of those who waited when the machine was disconnected, or connected anew."""
    return InputError("IdentityChanged", "The machine's identity has just changed; ask again.")
