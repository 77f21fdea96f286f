"""The process `extd`: runs in the foreground, under systemd, in a container or by hand."""

import asyncio
import os
import sys

import click
import structlog

from arcgate import __version__
from arcgate.agent.extensions.daemon import ExtensionDaemon
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

STOP_TIMEOUT = 20.0
"""Seconds that running commands of handlers get to end after SIGTERM."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level that is logged.",
)
@click.option("--service", "is_service", is_flag=True, hidden=True, help="Windows' manager of services starts it.")
@click.version_option(__version__, prog_name="extd")
def main(log_level: str, is_service: bool) -> None:
    """Install, run and remove the extensions that the cloud wants on this machine. Runs until SIGTERM or Ctrl-C.

    Handlers run as the user of this service, which is root. It logs to standard error and to log/extd.log below
    /var/opt/azcmagent (AZCMAGENT_HOME moves that).
    """
    request = StopRequest()
    if is_service:
        try:
            sys.exit(run_as_service("extensionservice", lambda: _run(log_level, request), request.ask))
        except OSError as error:
            sys.exit(f"extd: {error}")
    _run(log_level, request)


def _run(log_level: str, request: StopRequest) -> None:
    try:
        paths = AgentPaths.from_environment()
        paths.prepare()
        log = LogFile(paths.extd_log, sys.stderr)
        configure_logging(log_level, file=log.as_text())
        with ServiceLock(paths.extd_lock):
            asyncio.run(_serve(paths, ServiceNotices.take(os.environ), request))
    except ArcgateError as error:
        click.echo(error.one_line(), err=True)
        raise SystemExit(1) from None
    except OSError as error:
        click.echo(
            f"extd can't use its folders: {error}. Remedy: run it as root or as the user of the files.", err=True
        )
        raise SystemExit(1) from None


async def _serve(paths: AgentPaths, notices: ServiceNotices, request: StopRequest) -> None:
    stopping = request.attach()
    work = spawn("extd", ExtensionDaemon(paths).run())
    waiting = spawn("wait for the end", stopping.wait())
    async with notices.alive():
        notices.ready()
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    notices.stopping()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await cancel(work, waiting)
    except TimeoutError:
        _log.warning("some work did not end in time")
    _log.info("extd stopped")
    if not stopping.is_set():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
