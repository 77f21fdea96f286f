"""The process `himdsd`: keeps this machine connected."""

import asyncio
import os
import random
import time
from collections.abc import Coroutine
from typing import Any

import click

from arcgate import __version__
from arcgate.agent.himds.daemon import Daemon
from arcgate.agent.himds.session import World
from arcgate.agent.machine_key import now
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.service_process import ServiceProcess, log_level_option, service_option

STOP_TIMEOUT = 4.0
"""Seconds that the work gets to end after SIGTERM."""


def _work(paths: AgentPaths) -> Coroutine[Any, Any, None]:
    world = World(now, random.random, asyncio.sleep, time.monotonic, current().facts(), dict(os.environ))
    return Daemon(paths, world).run()


_HIMDSD = ServiceProcess(
    name="himdsd",
    windows_name="himds",
    log=lambda paths: paths.himds_log,
    lock=lambda paths: paths.himdsd_lock,
    work=_work,
    stop_timeout=STOP_TIMEOUT,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@log_level_option
@service_option
@click.version_option(__version__, prog_name="himdsd")
def main(log_level: str, is_service: bool) -> None:
    """Keep this machine connected: heartbeat, settings, certificate. Runs until SIGTERM or Ctrl-C.

    It waits for 'azcmagent connect', and follows a later disconnect and connect by itself. It logs to standard
    error and to log/himds.log below /var/opt/azcmagent (AZCMAGENT_HOME moves that).
    """
    _HIMDSD.main(log_level, is_service=is_service)


if __name__ == "__main__":
    main()
