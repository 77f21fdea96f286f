"""extd's life: it follows state/extensions.json and the machine's settings, with a keeper for each extension."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from arcgate.agent.agent_service import AgentService
from arcgate.agent.cloud import Cloud, load_cloud
from arcgate.agent.errors import AzcmError
from arcgate.agent.extension_state import WantedExtension, read_wanted_extensions
from arcgate.agent.extensions.folders import ExtensionFolders
from arcgate.agent.extensions.keeper import Keeper
from arcgate.agent.extensions.package_source import PackageSource
from arcgate.agent.extensions.processor_limit import ProcessorLimit
from arcgate.agent.extensions.surroundings import ExtensionWorld, StatusBoard, machine_name
from arcgate.agent.http import client
from arcgate.agent.local_settings import load_settings
from arcgate.agent.machine_key import MachineKey, now
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, read_identity
from arcgate.agent.surroundings_watch import SurroundingsWatch, outbound_for_agent
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.extension_lifecycle import Stage
from arcgate.net.files import signature_of
from arcgate.net.http_client import HttpClient
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

LOOK_INTERVAL = 0.5
"""Seconds between looks at the files of others."""

MakeClient = Callable[[AgentPaths, Mapping[str, str], Cloud], HttpClient]


def agent_client(paths: AgentPaths, environment: Mapping[str, str], cloud: Cloud) -> HttpClient:
    """Return a client that goes the way of the agent's own requests."""
    return client(outbound_for_agent(paths, environment, cloud=cloud), cloud.ca_pem)


@dataclass(slots=True)
class ExtensionDaemon:
    """extd without its process."""

    paths: AgentPaths
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    make_client: MakeClient = agent_client
    clock: Callable[[], datetime] = now
    limit: ProcessorLimit = field(default_factory=ProcessorLimit)
    world: ExtensionWorld = field(init=False)
    _watch: SurroundingsWatch = field(init=False)
    _keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = field(default_factory=dict)
    _wanted_seen: tuple[object, ...] = ()
    _settings_seen: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        """Read what is known; raises StateError or OSError."""
        folders = ExtensionFolders.of(self.paths)
        self._watch = SurroundingsWatch(self.paths, self.environment)
        self.world = ExtensionWorld(
            folders,
            {name: replace(one, is_owed=one.stage is Stage.ENABLED) for name, one in folders.read_records().items()},
            StatusBoard(self.paths, self.clock),
            self.limit,
            self._settings,
            self._source,
            self._protected,
            self._proxy,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        _log.info("extd started", home=str(self.paths.home), warning=self.limit.warning)
        try:
            while True:
                try:
                    await self._look()
                except (ArcgateError, OSError) as error:
                    _log.error("the agent's files could not be looked at", cause=str(error))
                except Exception:  # a defect of ours must not end the care for extensions
                    _log.exception("the agent's files could not be looked at")
                await asyncio.sleep(LOOK_INTERVAL)
        finally:
            await cancel(*(task for _, task in self._keepers.values()))

    async def remove(self, names: list[str]) -> None:
        """Disable and uninstall extensions here and now, also without a cloud; raises ArcgateError or OSError."""
        for name in names:
            await Keeper(name.lower(), self.world).settle()

    async def _look(self) -> None:
        self._watch.refresh()
        settings_now = (signature_of(self.paths.local_configuration), self._proxy())
        wanted_now = (signature_of(self.paths.extensions),)
        if wanted_now != self._wanted_seen:
            self._wanted_seen = wanted_now
            self._follow(read_wanted_extensions_by_name(self.paths))
        elif settings_now != self._settings_seen:
            for keeper, _ in self._keepers.values():
                keeper.bell.set()
        self._settings_seen = settings_now
        self.world.board.store()
        for keeper, _ in self._keepers.values():
            keeper.look()
        for name in [name for name, (keeper, _) in self._keepers.items() if keeper.is_over]:
            await cancel(self._keepers.pop(name)[1])

    def _follow(self, wanted: dict[str, WantedExtension] | None) -> None:
        if wanted is None:
            return  # not connected: what is there stays as it is
        if not self.world.folders.is_for(self._identity().vm_id):
            self.disown()
        for name in wanted.keys() | self.world.records.keys():
            if name not in self._keepers:
                keeper = Keeper(name, self.world, wanted.get(name))
                self._keepers[name] = keeper, spawn(f"extension {name}", keeper.run())
            keeper = self._keepers[name][0]
            if keeper.wanted != wanted.get(name):
                keeper.wanted = wanted.get(name)
                keeper.bell.set()

    def disown(self) -> None:
        """Have what another identity of this machine installed removed before anything of the same name comes.

        Numbers of settings mean nothing between two clouds.
        """
        _log.info("the machine has another identity; its extensions of before go")
        for name, record in list(self.world.records.items()):
            self.world.keep(name, replace(record, publisher="", type=""))

    def _settings(self) -> Mapping[str, Any]:
        return load_settings(self.paths, self.environment).values

    def _proxy(self) -> str:
        if not self._watch.current.routing.uses_gateway:
            return ""
        return f"http://127.0.0.1:{self._watch.settings.value.arcproxy_port}"

    def _protected(self, wanted: WantedExtension) -> dict[str, Any]:
        if not wanted.protected:
            return {}
        return wanted.open_protected(MachineKey.load(self.paths.machine_key), self._identity().vm_id)

    def _source(self) -> PackageSource:
        identity = self._identity()
        cloud = load_cloud(self.paths, identity.cloud)
        http = self.make_client(self.paths, self.environment, cloud)
        key = MachineKey.load(self.paths.machine_key)
        service = AgentService(http, identity.his_endpoint or cloud.his, identity.vm_id, key, self.clock)

        async def keys() -> list[str]:
            own: list[str] = self._settings().get("extensions.publisherkeys", [])
            return list(own) or await service.publisher_keys()

        return PackageSource(http, cloud.packages, keys, machine_name())

    def _identity(self) -> AgentIdentity:
        identity = read_identity(self.paths)
        if identity is None:
            raise AzcmError(3, "This machine is not connected.", remedy="Run 'azcmagent connect'.")
        return identity


def read_wanted_extensions_by_name(paths: AgentPaths) -> dict[str, WantedExtension] | None:
    """Return what the cloud wants by name in lower case, None while it has never said; raises StateError."""
    found = read_wanted_extensions(paths)
    if found is None:
        return None
    wanted = {one.goal.name.lower(): one for one in found.extensions}
    if len(wanted) != len(found.extensions):
        raise StateError("FILE_UNREADABLE", f"{paths.extensions} names an extension twice.")
    return wanted
