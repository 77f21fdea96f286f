"""himdsd's life: it waits for the machine to be connected, works for that identity, and follows when it changes."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from arcgate.agent.cloud import Cloud, load_cloud
from arcgate.agent.himds.challenges import Challenges
from arcgate.agent.himds.metadata_endpoint import MetadataEndpoint
from arcgate.agent.himds.metadata_server import MetadataServer
from arcgate.agent.himds.session import Session, World
from arcgate.agent.himds.status import StatusBoard
from arcgate.agent.http import client
from arcgate.agent.local_settings import load_settings
from arcgate.agent.machine_key import MachineKey
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, read_identity
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import ArcgateError
from arcgate.net.files import signature_of
from arcgate.net.http_client import HttpClient
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

LOOK_INTERVAL = 0.5
"""Seconds between looks at the files of others."""
START_RETRY = 5.0
"""Seconds until a session that could not start, for a damaged file, is tried again without a change of files."""

MakeClient = Callable[[AgentPaths, Mapping[str, str], Cloud], HttpClient]


def agent_client(paths: AgentPaths, environment: Mapping[str, str], cloud: Cloud) -> HttpClient:
    """Return a client that goes the way of the agent's own requests."""
    return client(outbound_for_agent(paths, environment, cloud=cloud), cloud.ca_pem, keeps=True)


@dataclass(slots=True)
class Daemon:
    """himdsd without its process."""

    paths: AgentPaths
    world: World
    make_client: MakeClient = agent_client
    _metadata: MetadataServer = field(init=False)
    _challenges: Challenges = field(init=False)
    _session: Session | None = None
    _authorities: str = ""
    _task: asyncio.Task[None] | None = None
    _identity_seen: tuple[object, ...] = ()
    _settings_seen: tuple[object, ...] = ()
    _surroundings_seen: tuple[object, ...] = ()
    _extensions_seen: tuple[object, ...] = ()
    _next_try: float = field(default=0)
    _port_seen: tuple[object, ...] = ()
    _port: int = 40342

    def __post_init__(self) -> None:
        self._challenges = Challenges(self.paths.tokens, self.world.monotonic)
        endpoint = MetadataEndpoint(self._challenges, self.world.facts, lambda: self._session)
        self._metadata = MetadataServer(endpoint, self.world.monotonic)

    async def run(self) -> None:
        """Work until cancelled."""
        _log.info("himdsd started", home=str(self.paths.home))
        try:
            self._prepare_challenges()
            while True:
                try:
                    await self._look()
                    await self._serve_metadata()
                except Exception:  # a defect of ours must not end the machine's heartbeat
                    _log.exception("the agent's files could not be looked at")
                await asyncio.sleep(LOOK_INTERVAL)
        finally:
            await self._metadata.close()
            self._challenges.close()
            await self._end()

    def _prepare_challenges(self) -> None:
        try:
            self._challenges.prepare()
        except OSError as error:
            _log.error("programs of this machine get no tokens", folder=str(self.paths.tokens), cause=str(error))

    async def _serve_metadata(self) -> None:
        """Listen for programs of this machine on the port of the settings, and let challenges end."""
        with contextlib.suppress(ArcgateError):  # with settings that can't be read, the port stays as it is
            if self._port_seen != (now := _signature(self.paths.local_configuration)):
                self._port_seen, self._port = now, load_settings(self.paths, self.world.environment).himds_port
        await self._metadata.follow(self._port)
        self._challenges.expire()
        if self._session is not None:
            self._session.board.endpoint_known(self._metadata.url)

    async def _look(self) -> None:
        if self._session is not None and self._session.authorities != self._authorities:
            _log.info("the cloud announces other authorities; they are trusted from now on")
            await self._begin_again(self._session.identity)
        identity_now = _signature(self.paths.agent_configuration, self.paths.machine_key)
        settings_now = _signature(self.paths.local_configuration)
        surroundings_now = _signature(self.paths.clouds, self.paths.machine_certificate, self.paths.arcproxy_state)
        is_retry = self._session is None and self.world.monotonic() >= self._next_try
        if identity_now != self._identity_seen or (is_retry and self.paths.agent_configuration.exists()):
            self._identity_seen = identity_now
            await self._follow_identity()
        elif self._session is not None and settings_now != self._settings_seen:
            self._session.wake(report=True)
        elif self._session is not None and surroundings_now != self._surroundings_seen:
            self._session.wake(report=False)
        self._settings_seen, self._surroundings_seen = settings_now, surroundings_now
        extensions_now = _signature(self.paths.extension_statuses)
        if self._session is not None and extensions_now != self._extensions_seen:
            self._session.extensions_changed()
        self._extensions_seen = extensions_now

    async def _follow_identity(self) -> None:
        self._next_try = self.world.monotonic() + START_RETRY
        board = StatusBoard(self.paths, self.world.clock)
        try:
            identity = read_identity(self.paths)
            if self._session is not None and identity == self._session.identity:
                return
            await self._end()
            if identity is None:
                _log.info("the machine is not connected; waiting for 'azcmagent connect'")
                self.paths.himds_state.unlink(missing_ok=True)
                return
            self._begin(identity, board)
        except (ArcgateError, OSError) as error:
            board.failed("heartbeat", error)

    def _begin(self, identity: AgentIdentity, board: StatusBoard) -> None:
        cloud = load_cloud(self.paths, identity.cloud)
        key = MachineKey.load(self.paths.machine_key)
        http = self.make_client(self.paths, self.world.environment, cloud)
        self._session = Session(self.paths, identity, cloud, http, key, board, self.world)
        self._authorities = self._session.authorities
        self._task = spawn("session", self._session.run())
        _log.info("working for", machine=identity.resource_id, vm_id=identity.vm_id)

    async def _begin_again(self, identity: AgentIdentity) -> None:
        await self._end()
        try:
            self._begin(identity, StatusBoard(self.paths, self.world.clock))
        except ArcgateError as error:
            StatusBoard(self.paths, self.world.clock).failed("heartbeat", error)

    async def _end(self) -> None:
        # Programs that ask from now on are told that there is no identity.
        task, self._task, self._session = self._task, None, None
        if task is not None:
            await cancel(task)


def _signature(*paths: Path) -> tuple[object, ...]:
    return tuple(signature_of(path) for path in paths)
