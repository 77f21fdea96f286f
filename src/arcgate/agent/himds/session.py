"""himdsd's work for one identity: four loops that go on whatever happens, until the identity changes."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from arcgate.agent.agent_service import GOAL_WAIT, AgentService, discover
from arcgate.agent.cloud import Cloud
from arcgate.agent.himds.extensions import ExtensionCarrier
from arcgate.agent.himds.goals import GoalFollower
from arcgate.agent.himds.identity_tokens import IdentityTokens
from arcgate.agent.himds.renewal import Renewal
from arcgate.agent.himds.report import applied_revision, make_report, service_states
from arcgate.agent.himds.status import StatusBoard
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.local_settings import load_settings
from arcgate.agent.machine_key import MachineKey
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import MACHINE_NOT_FOUND, AgentIdentity
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.instances import CLONE_REMEDY, CLONED
from arcgate.net.backoff import Backoff
from arcgate.net.http_client import HttpClient
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

FIRST_RETRY = 0.5
LONGEST_RETRY = 30.0
"""Seconds between tries while something fails."""
SLOW_RETRY = 60.0
"""Seconds between tries while only a person can help: the machine was deleted, its certificate revoked."""
LEAST_POLL = 1.0
"""Seconds that a poll without news takes at least, whatever the server does."""
JITTER = 0.1
"""Part of the heartbeat's interval by which it is spread."""
ACKNOWLEDGEMENT_SPREAD = 3.0
"""Seconds within which a machine acknowledges a new goal by a heartbeat."""
ARC_PROXY_LOOKS = 6
ARC_PROXY_PAUSE = 0.5
"""How often, and with how many seconds between, a heartbeat waits for Arc Proxy to take a new goal."""
NEEDS_A_PERSON = frozenset({MACHINE_NOT_FOUND, "CertificateRevoked"})
MISDIRECTED = 421
"""HTTP status that asks us to discover the region's endpoint again (RFC 9110 section 15.5.20)."""


@dataclass(frozen=True, slots=True)
class World:
    """What the session takes from outside: time, chance (`sleep` takes seconds), facts and the environment."""

    clock: Callable[[], datetime]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    monotonic: Callable[[], float]
    facts: MachineFacts
    environment: Mapping[str, str]


@dataclass(slots=True)
class Session:
    """The loops of one identity. `wake` ends all pauses: something on this machine has changed."""

    paths: AgentPaths
    identity: AgentIdentity
    cloud: Cloud
    http: HttpClient
    key: MachineKey
    board: StatusBoard
    world: World
    tokens: IdentityTokens = field(init=False)
    _goals: GoalFollower = field(init=False)
    _renewal: Renewal = field(init=False)
    _extensions: ExtensionCarrier = field(init=False)
    _service: AgentService = field(init=False)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _heartbeat_bell: asyncio.Event = field(default_factory=asyncio.Event)
    _extensions_bell: asyncio.Event = field(default_factory=asyncio.Event)
    _goal_failed: bool = False
    _has_new_goal: bool = False
    _instance: str = field(default_factory=lambda: str(uuid.uuid4()))
    _sequence: int = 0
    _reported_revision: int = -1

    def __post_init__(self) -> None:
        self._goals = GoalFollower.from_disk(self.paths)
        self._extensions = ExtensionCarrier(self.paths)
        self._renewal = Renewal(self.paths, self.key, self.world.random)
        endpoint = self.identity.his_endpoint or self.cloud.his
        self._service = AgentService(self.http, endpoint, self.identity.vm_id, self.key, self.world.clock)
        self.tokens = IdentityTokens(self._service, self.world.clock, self.world.monotonic)

    @property
    def authorities(self) -> str:
        """The roots that the goal announces, in PEM."""
        return self._goals.goal.authorities

    async def run(self) -> None:
        """Work until cancelled."""
        self.board.goal_known(self._goals.goal.revision)
        loops = [
            spawn("heartbeat", self._repeat("heartbeat", self._heartbeat, self._heartbeat_bell)),
            spawn("goal", self._repeat("goal", self._follow_goal, self._bell)),
            spawn("certificate", self._repeat("certificate", self._renew, self._bell)),
            spawn("extensions", self._repeat("extensions", self._carry_extensions, self._extensions_bell)),
        ]
        try:
            await asyncio.gather(*loops)
        finally:
            await cancel(*loops)
            await self.tokens.close()
            await self.http.close()

    def wake(self, *, report: bool) -> None:
        """Try again at once whatever waits for its next try; with `report`, send a heartbeat in any case."""
        # The way of our requests may be another one now.
        spawn("close kept connections", self.http.close())
        self._bell.set()
        self._extensions_bell.set()
        is_news = applied_revision(self.paths, self._goals.goal) != self._reported_revision
        if report or is_news or self.board.has_failed("heartbeat"):
            self._heartbeat_bell.set()

    def extensions_changed(self) -> None:
        """Tell the cloud at once what came of its extension goals."""
        self._extensions_bell.set()

    async def _repeat(self, name: str, step: Callable[[], Awaitable[float]], bell: asyncio.Event) -> None:
        """Do steps for ever; each returns the seconds to pause after it."""
        backoff = Backoff(self.world.random, FIRST_RETRY, LONGEST_RETRY)
        while True:
            try:
                pause = await step()
                backoff.reset()
                self.board.succeeded(name)
            except (ArcgateError, OSError) as error:
                self.board.failed(name, error)
                pause = await self._after(error, backoff)
            except Exception as error:  # a defect of ours must not end the machine's heartbeat
                _log.exception("a step failed", loop=name)
                self.board.failed(name, error)
                pause = backoff.next()
            await self._pause(pause, bell)

    async def _after(self, error: Exception, backoff: Backoff) -> float:
        """Return the pause after a failure."""
        if isinstance(error, ServiceRefusal):
            if error.code in NEEDS_A_PERSON:
                return SLOW_RETRY * (1 + self.world.random())
            if error.status == MISDIRECTED:
                with contextlib.suppress(ArcgateError):
                    self._service.endpoint = await discover(self.http, self.cloud.his, self.identity.location)
        return backoff.next()

    async def _pause(self, seconds: float, bell: asyncio.Event) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        ringing = spawn("wait for a change", bell.wait())
        sleeping = spawn("pause", _as_coroutine(self.world.sleep(seconds)))
        try:
            await asyncio.wait({ringing, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(ringing, sleeping)
        bell.clear()

    async def _heartbeat(self) -> float:
        if self._has_new_goal:
            # Thousands of machines got it at the same moment.
            self._has_new_goal = False
            await self.world.sleep(ACKNOWLEDGEMENT_SPREAD * self.world.random())
            await self._wait_for_arc_proxy()
        settings = load_settings(self.paths, self.world.environment)
        certificate = self._renewal.certificate()
        self.board.certificate_known(certificate)
        applied = applied_revision(self.paths, self._goals.goal)
        services = service_states(self.paths)
        report = make_report(self.world.facts, settings, self._goals.goal, certificate, services, applied)
        self._sequence += 1
        own = {"instance": self._instance, "sequence": self._sequence, "clockOffset": self._offset()}
        answer = await self._service.heartbeat({**report, **own})
        self._reported_revision = applied
        self.board.heartbeat_accepted(self._service.clock_offset)
        self._tell_of_conflict(answer.conflict_since)
        if answer.goal_revision != self._goals.goal.revision:
            self._bell.set()  # the poll may be stuck in a proxy, or waiting after a failure
        interval = min(max(answer.interval, 1), 3600)
        return interval * (1 - JITTER + 2 * JITTER * self.world.random())

    async def _wait_for_arc_proxy(self) -> None:
        """Give Arc Proxy time to take the goal: what is acknowledged is what is in force."""
        goal = self._goals.goal
        for _ in range(ARC_PROXY_LOOKS):
            if applied_revision(self.paths, goal) == goal.revision:
                return
            await self.world.sleep(ARC_PROXY_PAUSE)

    def _offset(self) -> float:
        return round(self._service.clock_offset.total_seconds(), 1)

    def _tell_of_conflict(self, since: str) -> None:
        if not since:
            self.board.succeeded("identity")
            return
        sentence = f"Another machine reports under this machine's identity, since {since}."
        self.board.failed("identity", StateError(CLONED, sentence, remedy=CLONE_REMEDY))

    async def _follow_goal(self) -> float:
        begin, before = self.world.monotonic(), self._goals.goal.revision
        # After a failure the first question must not wait: something on the path may not let it.
        wait = 0 if self._goal_failed or before == 0 else GOAL_WAIT
        self._goal_failed = True
        pause = await self._goals.step(self._service, wait)
        self._goal_failed = False
        self.board.goal_known(self._goals.goal.revision)
        if self._goals.goal.revision != before:
            self._has_new_goal = True
            self._heartbeat_bell.set()
            self._extensions_bell.set()
        if pause is None:
            return max(0, LEAST_POLL - (self.world.monotonic() - begin))
        return pause

    async def _carry_extensions(self) -> float:
        return await self._extensions.step(self._service, self._goals.goal)

    async def _renew(self) -> float:
        pause = self._renewal.pause(self.world.clock() + self._service.clock_offset)
        if pause > 0:
            return pause
        await self._renewal.renew(self._service)
        return LEAST_POLL


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
