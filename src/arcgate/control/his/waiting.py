"""A machine's wait for a goal newer than its own."""

import asyncio
from dataclasses import replace

from arcgate.control.context import ControlContext
from arcgate.control.his.authentication import machine_not_found
from arcgate.control.his.extensions import wanted_extensions
from arcgate.control.his.goals import goal_of
from arcgate.control.his.published import Published
from arcgate.control.store.models import MachineRow
from arcgate.core.routing import Goal
from arcgate.core.snapshot import Kind


class Goals:
    """Goals of machines, computed from the published entries; machines wait here for newer ones."""

    def __init__(self, context: ControlContext, published: Published) -> None:
        self._context = context
        self._published = published

    async def goal(self, machine: MachineRow, at_least: int = 0) -> Goal:
        """Return the machine's present goal, `at_least` as new as a known revision; raises ApiError 404."""
        await self._published.refresh(at_least)
        return self._compute(machine)

    async def newer(self, machine: MachineRow, after: int, wait: float) -> Goal | None:
        """Return the goal once its revision is above `after`, or None after `wait` seconds.

        A revision above all of ours is of a database that has been restored since: the goal is told at once.
        """
        end = asyncio.get_running_loop().time() + wait
        while True:
            ticket = self._context.changes.ticket(*self._topics(machine))
            topics = self._topics(machine)
            goal = await self.goal(machine, after)
            if goal.revision > after or after > self._published.revision:
                return await self._with_extensions(machine, goal)
            if topics != self._topics(machine):
                continue  # the association changed under us: wait for the right gateway
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or not await self._context.changes.wait(ticket, left):
                return None

    async def _with_extensions(self, machine: MachineRow, goal: Goal) -> Goal:
        # Read after the entries: what is newer than this revision comes again, and changes nothing, with the next.
        async with self._context.store.read() as session:
            return replace(goal, extensions=await wanted_extensions(session, machine.id))

    def _compute(self, machine: MachineRow) -> Goal:
        entry = self._published.find(Kind.MACHINE, machine.id)
        if entry is None or entry.body is None:
            raise machine_not_found()
        prefix = entry.body["gateway"]
        gateway = self._published.find(Kind.GATEWAY, prefix) if prefix is not None else None
        others = self._published.all_of(Kind.CLOUD, Kind.ENDPOINT_SET)
        return goal_of(entry, gateway, others, self._context.catalogue, self._context.configuration)

    def _topics(self, machine: MachineRow) -> list[str]:
        entry = self._published.find(Kind.MACHINE, machine.id)
        topics = [f"machine:{machine.id}"]
        if entry is not None and entry.body is not None and entry.body["gateway"] is not None:
            topics += [f"gateway:{entry.body['gateway']}", f"endpointSets:{machine.tenant_id}"]
        return topics
