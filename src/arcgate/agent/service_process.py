"""How a service of the agent that listens nowhere runs: in the foreground, under systemd, in a container or by hand."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog

from arcgate.agent.log_file import LogFile
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform.windows_services import run_as_service
from arcgate.agent.service_notices import ServiceNotices
from arcgate.agent.state import ServiceLock
from arcgate.agent.stop_request import StopRequest
from arcgate.core.errors import ArcgateError
from arcgate.net.logs import configure_logging
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

log_level_option = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level that is logged.",
)
service_option = click.option(
    "--service", "is_service", is_flag=True, hidden=True, help="Windows' manager of services starts it."
)


@dataclass(frozen=True)
class ServiceProcess:
    """One service: its process's name, that for Windows' manager of services, its files, and its work without end.

    `stop_timeout` is how many seconds the work gets to end after SIGTERM.
    """

    name: str
    windows_name: str
    log: Callable[[AgentPaths], Path]
    lock: Callable[[AgentPaths], Path]
    work: Callable[[AgentPaths], Coroutine[Any, Any, None]]
    stop_timeout: float

    def main(self, log_level: str, *, is_service: bool) -> None:
        """Run until SIGTERM or Ctrl-C; raises SystemExit with a sentence for what keeps it from that."""
        request = StopRequest()
        if is_service:
            try:
                sys.exit(run_as_service(self.windows_name, lambda: self._run(log_level, request), request.ask))
            except OSError as error:
                sys.exit(f"{self.name}: {error}")
        self._run(log_level, request)

    def _run(self, log_level: str, request: StopRequest) -> None:
        try:
            paths = AgentPaths.from_environment()
            paths.prepare()
            log = LogFile(self.log(paths), sys.stderr)
            configure_logging(log_level, file=log.as_text())
            with ServiceLock(self.lock(paths)):
                asyncio.run(self._serve(paths, ServiceNotices.take(os.environ), request))
        except ArcgateError as error:
            click.echo(error.one_line(), err=True)
            raise SystemExit(1) from None
        except OSError as error:
            remedy = "Remedy: run it as root or as the user of the files."
            click.echo(f"{self.name} can't use its folders: {error}. {remedy}", err=True)
            raise SystemExit(1) from None

    async def _serve(self, paths: AgentPaths, notices: ServiceNotices, request: StopRequest) -> None:
        stopping = request.attach()
        work = spawn(self.name, self.work(paths))
        waiting = spawn("wait for the end", stopping.wait())
        async with notices.alive():
            notices.ready()
            await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        notices.stopping()
        try:
            async with asyncio.timeout(self.stop_timeout):
                await cancel(work, waiting)
        except TimeoutError:
            _log.warning("some work did not end in time")
        _log.info(f"{self.name} stopped")
        if not stopping.is_set():
            raise SystemExit(1)
