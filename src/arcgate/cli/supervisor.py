"""Runs the children of `arcgate serve`: the control plane first, then the gateway's workers; restarts what ends."""

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Iterator

import structlog

from arcgate.cli.child_process import ChildProcess, ChildSpec
from arcgate.core.errors import ArcgateError
from arcgate.net.tasks import cancel, spawn

EXTRA_PATIENCE = 5.0
"""Seconds beyond the drain time-out before a child is killed."""


NOTICE = 10.0
"""Seconds without readiness after which we say what is waited for."""

_log = structlog.get_logger("arcgate.supervisor")


class Supervisor:
    """Starts children, keeps them running, and stops them in reverse order of their start."""

    def __init__(self) -> None:
        self.children: list[ChildProcess] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def pids(self) -> dict[str, list[int]]:
        """Process ids of what runs now, by role."""
        found: dict[str, list[int]] = {}
        for child in self.children:
            if child.pid is not None:
                found.setdefault(child.spec.role, []).append(child.pid)
        return found

    def start(self, spec: ChildSpec) -> ChildProcess:
        """Start a child; it is kept running until `stop`."""
        child = ChildProcess(spec, self._stop.is_set)
        self.children.append(child)
        self._keeping.append(spawn(f"keep {spec.name}", self._keep(child)))
        return child

    async def start_all(self, specs: Iterable[ChildSpec]) -> None:
        """Start children at once and wait until all are ready; raises StateError when one can't be."""
        await self.wait_ready([self.start(spec) for spec in specs])

    async def wait_ready(self, children: Iterable[ChildProcess]) -> None:
        """Wait until children are ready, or until somebody asks to stop; raises what made one fail."""
        waits = [spawn(f"wait for {child.spec.name}", _wait(child.ready)) for child in children]
        stopped = spawn("wait for stop", _wait(self._stop))
        try:
            pending = set(waits)
            while pending and not self._stop.is_set():
                done, pending = await asyncio.wait(
                    {*pending, stopped}, timeout=NOTICE, return_when=asyncio.FIRST_COMPLETED
                )
                pending.discard(stopped)
                if not done:
                    # A gateway's first start waits for its control plane, however long that takes.
                    _log.warning("not ready yet", waiting="; ".join(task.get_name() for task in pending))
        finally:
            await cancel(*waits, stopped)
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what made a child fail for good, if anything did."""
        if self._failure is not None:
            raise self._failure

    @property
    def is_stopping(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._stop.is_set()

    def ask_to_stop(self) -> None:
        """Begin to stop; asked twice, kill at once."""
        if self._stop.is_set():
            for child in self.children:
                child.kill()
        self._stop.set()

    async def wait_for_stop(self) -> None:
        """Return when somebody has asked to stop, or a child has failed for good: see `raise_failure`."""
        await self._stop.wait()

    async def stop(self, drain_timeout: float, patience: float = EXTRA_PATIENCE) -> None:
        """Stop all children, role by role in reverse order: gateways hand their last records to the control plane.

        A gateway gets the drain time-out beside `patience` (seconds) before it is killed.
        """
        self._stop.set()
        for roles in (("himdsd", "arcproxyd"), ("gateway",), ("control",)):
            group = [child for child in self.children if child.spec.role in roles]
            limit = drain_timeout + patience if "gateway" in roles else patience
            await asyncio.gather(*(child.terminate(limit) for child in group))
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _keep(self, child: ChildProcess) -> None:
        try:
            await child.keep_running()
        except ArcgateError as error:
            if not self._stop.is_set():
                self._failure = self._failure or error
                self._stop.set()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


@contextlib.contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Let SIGTERM, SIGINT and SIGHUP ask the supervisor to stop."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, supervisor.ask_to_stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
