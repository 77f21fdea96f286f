"""Machines that wait for incoming connections: one channel each, kept alive, taken by whoever may connect."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.identity import Certificate
from arcgate.gateway.outbound import Refused
from arcgate.net.streams import ByteStream, PrefixedStream, StreamReset
from arcgate.wire.incoming import (
    Declined,
    LineError,
    LineReader,
    Opened,
    OpenRequest,
    Pong,
    format_open,
    format_ping,
    parse_answer,
)

MOST_CHANNELS = 4
"""Channels on which one machine waits; of more the oldest is let go. Agents need one, and a second for a moment."""


@dataclass(eq=False, slots=True)
class WaitingMachine:
    """One waiting channel of a machine. `is_welcome` says whether the machine may still wait here."""

    stream: ByteStream
    certificate: Certificate
    is_welcome: Callable[[], bool]
    keep_alive: float
    by_signed_channel: bool = False
    _reader: LineReader = field(default_factory=LineReader)
    _answer: "asyncio.Future[ByteStream] | None" = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    _task: "asyncio.Task[Any] | None" = None

    async def keep(self, on_waiting: Callable[["WaitingMachine"], None]) -> None:
        """Keep the channel until it has carried a connection, or the machine is gone or unwelcome.

        It wants a task of its own, which `dismiss` cancels. `on_waiting` is called when the machine may be asked: at
        first, and after it has declined a connection.
        """
        self._task = asyncio.current_task()
        try:
            await self._say(format_ping(self._pause))
            on_waiting(self)
            while (answer := await self._next_answer()) is not None:
                waiting, self._answer = self._answer, None
                if waiting is None:
                    return  # nobody has asked
                if isinstance(answer, Declined):
                    on_waiting(self)
                    _fail(waiting, Refused(Verdict(answer.reason)))
                    continue
                if waiting.done():
                    return  # whoever asked has gone meanwhile
                waiting.set_result(PrefixedStream(self._reader.rest, self.stream))
                await self._released.wait()
                return
        except (StreamReset, LineError):
            return
        finally:
            self._task = None
            _fail(self._answer, StreamReset("the machine has gone"))

    async def open(self, request: OpenRequest, limit: float) -> ByteStream:
        """Return the connection to the machine's port; raises Refused, StreamReset or TimeoutError."""
        answer: asyncio.Future[ByteStream] = asyncio.get_running_loop().create_future()
        self._answer = answer
        async with asyncio.timeout(limit):
            await self._say(format_open(request))
            return await answer

    def release(self) -> None:
        """Take note that nobody uses the channel any more."""
        self._released.set()

    def dismiss(self) -> None:
        """Have nothing more to do with the channel: `keep` is cancelled."""
        if self._task is not None:
            self._task.cancel()

    @property
    def _pause(self) -> int:
        return math.ceil(self.keep_alive)

    async def _next_answer(self) -> Opened | Declined | None:
        """Return the machine's next answer, None when it has ended, is silent or not welcome any more."""
        loop = asyncio.get_running_loop()
        due, is_heard = loop.time() + self.keep_alive, True
        while True:
            while (line := self._reader.take()) is not None:
                answer = parse_answer(line)
                if not isinstance(answer, Pong):
                    return answer
                is_heard = True
            # By the clock, whatever comes meanwhile: who speaks all the time is looked at too.
            if loop.time() >= due:
                due = loop.time() + self.keep_alive
                if self._answer is None:  # a ping before the answer could be taken for bytes of the connection
                    if not is_heard or not self.is_welcome():
                        return None
                    is_heard = False
                    await self._say(format_ping(self._pause))
            try:
                async with asyncio.timeout_at(due):
                    data = await self.stream.receive()
            except TimeoutError:
                continue
            if not data:
                return None
            self._reader.feed(data)

    async def _say(self, line: bytes) -> None:
        async with self._sending:
            await self.stream.send(line)


class WaitingMachines:
    """The machines that wait in this worker."""

    def __init__(self) -> None:
        self._machines: dict[str, list[WaitingMachine]] = {}
        self._wanted: dict[str, list[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return sum(len(ones) for ones in self._machines.values())

    def add(self, machine: WaitingMachine) -> None:
        """Let a machine be found."""
        name = machine.certificate.identity.machine_id
        channels = self._machines.setdefault(name, [])
        channels.append(machine)
        if len(channels) > MOST_CHANNELS:
            channels.pop(0).dismiss()
        for wanted in self._wanted.pop(name, []):
            if not wanted.done():
                wanted.set_result(None)

    def dismiss_all(self) -> None:
        """Let all go that wait; those that carry a connection go on."""
        for machine in [one for ones in self._machines.values() for one in ones]:
            machine.dismiss()

    def discard(self, machine: WaitingMachine) -> None:
        """Let a machine be found no more."""
        name = machine.certificate.identity.machine_id
        with contextlib.suppress(KeyError, ValueError):
            self._machines[name].remove(machine)
            if not self._machines[name]:
                del self._machines[name]

    async def take(self, machine_id: str) -> WaitingMachine:
        """Return the machine's newest channel that is still welcome, which nobody else gets then; waits for one."""
        while True:
            while channels := self._machines.get(machine_id):
                machine = channels[-1]
                self.discard(machine)
                if machine.is_welcome():
                    return machine
                machine.dismiss()
            wanted = asyncio.get_running_loop().create_future()
            self._wanted.setdefault(machine_id, []).append(wanted)
            try:
                await wanted
            finally:
                self._forget(machine_id, wanted)

    async def open(self, machine_id: str, request: OpenRequest, limit: float) -> tuple[WaitingMachine, ByteStream]:
        """Return a channel of the machine and the connection on it, which must be released; raises Refused.

        A channel that turns out to be dead makes way for the next one. `limit` are seconds for finding one, and
        for its answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while loop.time() < deadline:
            try:
                async with asyncio.timeout_at(deadline):
                    machine = await self.take(machine_id)
            except TimeoutError:
                raise Refused(Verdict(Reason.MACHINE_NOT_WAITING)) from None
            try:
                return machine, await machine.open(request, limit)
            except (StreamReset, TimeoutError):
                machine.dismiss()
            except asyncio.CancelledError:
                machine.dismiss()  # its answer would be nobody's
                raise
        raise Refused(Verdict(Reason.MACHINE_NOT_WAITING))

    def _forget(self, machine_id: str, wanted: "asyncio.Future[None]") -> None:
        waiters = self._wanted.get(machine_id, [])
        if wanted in waiters:
            waiters.remove(wanted)
            if not waiters:
                del self._wanted[machine_id]


def _fail(answer: "asyncio.Future[ByteStream] | None", error: Exception) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(error)
