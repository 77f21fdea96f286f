"""Carrying extension goals: settings come down for what the goal names, statuses go up when they have changed."""

from dataclasses import dataclass, field

import structlog

from arcgate.agent.agent_service import AgentService
from arcgate.agent.extension_state import (
    WantedExtension,
    WantedExtensions,
    read_extension_statuses,
    read_wanted_extensions,
    write_wanted_extensions,
)
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import StateError
from arcgate.core.extension_goals import ExtensionGoal, ExtensionStatus
from arcgate.core.routing import Goal

_log = structlog.get_logger(__name__)

NOT_FOUND = "ExtensionNotFound"
"""Code of the answer for an extension that is not wanted any more."""
PAUSE = 3600.0
"""Seconds until everything is looked at again without a reason."""


@dataclass(slots=True)
class ExtensionCarrier:
    """Keeps state/extensions.json at the goal, and the cloud at state/extension-status.json."""

    paths: AgentPaths
    _told: dict[str, ExtensionStatus] = field(default_factory=dict)

    async def step(self, service: AgentService, goal: Goal) -> float:
        """Do what is to do, and return seconds to pause; raises HopError, ServiceRefusal, InputError or StateError."""
        if goal.revision:  # before the first goal nobody knows what shall be there
            await self._fetch(service, goal)
        await self._report(service)
        return PAUSE

    async def _fetch(self, service: AgentService, goal: Goal) -> None:
        known = self._known()
        by_name = {one.goal.name: one for one in known.extensions} if known else {}
        found: list[WantedExtension] = []
        for wanted in goal.extensions:
            before = by_name.get(wanted.name)
            if before is not None and before.goal == wanted:
                found.append(before)
            elif (fresh := await self._settings(service, wanted, before)) is not None:
                found.append(fresh)
        now = WantedExtensions(goal.revision, tuple(found))
        if known is None and not found:
            return  # most machines have none, and never get the file
        if known is None or known.extensions != now.extensions:
            write_wanted_extensions(self.paths, now)
            _log.info("new extension goals", revision=goal.revision, extensions=[one.goal.name for one in found])

    def _known(self) -> WantedExtensions | None:
        try:
            return read_wanted_extensions(self.paths)
        except StateError as error:
            _log.warning("the stored extension goals are damaged and will be fetched again", cause=error.cause)
            return WantedExtensions(0)

    async def _settings(
        self, service: AgentService, wanted: ExtensionGoal, before: WantedExtension | None
    ) -> WantedExtension | None:
        """Return the extension with its settings, None when it isn't wanted any more."""
        try:
            revision, settings, protected = await service.extension_settings(wanted.name)
        except ServiceRefusal as error:
            if error.code != NOT_FOUND:
                raise
            return None
        if revision != wanted.settings_revision:
            # Changed since the goal was made: the next goal, which is on its way, says what else has.
            _log.info("an extension is newer than the goal", extension=wanted.name, revision=revision)
            return before
        return WantedExtension(wanted, settings, protected)

    async def _report(self, service: AgentService) -> None:
        statuses = {one.name: one for one in read_extension_statuses(self.paths)}
        for name in [name for name in self._told if name not in statuses]:
            del self._told[name]
        for name, status in statuses.items():
            if self._told.get(name) == status:
                continue
            try:
                await service.report_extension(status)
            except ServiceRefusal as error:
                if error.code != NOT_FOUND:
                    raise
            self._told[name] = status
