"""The process `extd`: runs the extensions of this machine."""

import click

from arcgate import __version__
from arcgate.agent.extensions.daemon import ExtensionDaemon
from arcgate.agent.service_process import ServiceProcess, log_level_option, service_option

STOP_TIMEOUT = 20.0
"""Seconds that running commands of handlers get to end after SIGTERM."""

_EXTD = ServiceProcess(
    name="extd",
    windows_name="extensionservice",
    log=lambda paths: paths.extd_log,
    lock=lambda paths: paths.extd_lock,
    work=lambda paths: ExtensionDaemon(paths).run(),
    stop_timeout=STOP_TIMEOUT,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@log_level_option
@service_option
@click.version_option(__version__, prog_name="extd")
def main(log_level: str, is_service: bool) -> None:
    """Install, run and remove the extensions that the cloud wants on this machine. Runs until SIGTERM or Ctrl-C.

    Handlers run as the user of this service, which is root. It logs to standard error and to log/extd.log below
    /var/opt/azcmagent (AZCMAGENT_HOME moves that).
    """
    _EXTD.main(log_level, is_service=is_service)


if __name__ == "__main__":
    main()
