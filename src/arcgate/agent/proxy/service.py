"""The process `arcproxyd`: Arc Proxy in the foreground, under systemd, in a container or by hand."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import click
import structlog

from arcgate import __version__
from arcgate.agent.log_file import LogFile
from arcgate.agent.loopback import open_sockets
from arcgate.agent.outbound import Outbound
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform.windows_services import run_as_service
from arcgate.agent.proxy.arc_proxy import ArcProxy
from arcgate.agent.proxy.callers import Callers
from arcgate.agent.proxy.incoming import IncomingConnections
from arcgate.agent.proxy.limits import ProxyLimits
from arcgate.agent.refused_credentials import SharedRefused
from arcgate.agent.service_notices import ServiceNotices
from arcgate.agent.state import ArcProxyState, ServiceLock, write_arcproxy_state
from arcgate.agent.stop_request import StopRequest
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.core.errors import ArcgateError
from arcgate.core.incoming import IncomingRules
from arcgate.net import event_loop
from arcgate.net.descriptors import use_all_descriptors
from arcgate.net.listener import Listener
from arcgate.net.logs import configure_logging
from arcgate.net.resolver import Resolver, SystemResolver
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger("arcproxyd")

POLL = 0.5
"""Seconds between looks at the agent's files."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--service", "is_service", is_flag=True, hidden=True, help="Windows' manager of services starts it.")
@click.version_option(__version__, prog_name="arcproxyd")
def main(is_service: bool) -> None:
    """Carry this machine's requests: Arc Proxy, on 127.0.0.1:40343 (arcproxy.port). Runs until SIGTERM or Ctrl-C.

    It follows the settings, the goal and the certificate by itself. It logs one line for each request to
    log/arcproxy.log below /var/opt/azcmagent (AZCMAGENT_HOME moves that).
    """
    request = StopRequest()
    if is_service:
        try:
            sys.exit(run_as_service("arcproxy", lambda: _run(request), request.ask))
        except OSError as error:
            sys.exit(f"arcproxyd: {error}")
    _run(request)


def _run(request: StopRequest) -> None:
    paths = AgentPaths.from_environment()
    try:
        paths.prepare()
        event_loop.run(run(paths, request=request))
    except ArcgateError as error:
        sys.exit(f"arcproxyd: {error.one_line()}")
    except OSError as error:
        sys.exit(f"arcproxyd: {error.strerror}: {error.filename}")


async def run(paths: AgentPaths, resolver: Resolver | None = None, request: StopRequest | None = None) -> None:
    """Serve until a signal or the request; raises StateError when the port is taken or another arcproxyd runs."""
    log = LogFile(paths.arcproxy_log)
    try:
        configure_logging(file=log.as_text())
        watch = SurroundingsWatch(paths)
        configure_logging(watch.settings.value.arcproxy_log_level, file=log.as_text())
        await _serve(paths, watch, resolver or SystemResolver(), request or StopRequest())
    finally:
        log.close()


async def _serve(paths: AgentPaths, watch: SurroundingsWatch, resolver: Resolver, request: StopRequest) -> None:
    with ServiceLock(paths.arcproxyd_lock):
        sockets = open_sockets(watch.settings.value.arcproxy_port)
        use_all_descriptors()
        service = ArcProxyService(paths, watch, resolver, sockets)
        stopping = request.attach()
        notices = ServiceNotices.take(os.environ)
        async with notices.alive():
            await service.start()
            notices.ready()
            await stopping.wait()
            notices.stopping()
            await service.stop()


class ArcProxyService:
    """A running Arc Proxy: listener, its state file, and the look at the agent's files twice a second."""

    def __init__(
        self, paths: AgentPaths, watch: SurroundingsWatch, resolver: Resolver, sockets: list[socket.socket]
    ) -> None:
        self._paths = paths
        self._watch = watch
        self._port = int(sockets[0].getsockname()[1])
        self._outbound = Outbound(
            lambda: watch.current,
            resolver,
            kept_channels=lambda: self._limits().channels,
            refused=SharedRefused(paths.refused_credentials),
        )
        self.proxy = ArcProxy(self._outbound, self._limits, lambda: self._callers)
        self.incoming = IncomingConnections(self._outbound, self._incoming_rules, self._limits)
        self.listener = Listener(sockets, self.proxy.handle)
        self._watching: asyncio.Task[None] | None = None
        self._callers = Callers.of(watch.settings.value.values)
        self._known_limits: tuple[Mapping[str, Any], ProxyLimits] | None = None

    async def start(self) -> None:
        """Begin to serve."""
        self.listener.start()
        self._publish()
        self.incoming.look()
        self._watching = spawn("watch the agent's files", self._follow())
        _log.info("Arc Proxy listens", addresses=" ".join(self.listener.addresses))

    async def stop(self) -> None:
        """Let tunnels end for a while, then cut them."""
        limit = self._limits().drain_timeout
        _log.info("Arc Proxy stops", open=self.listener.open_connections, drain_timeout=limit)
        if self._watching is not None:
            await cancel(self._watching)
        await asyncio.gather(self.listener.stop(limit), self.incoming.stop(limit))
        await self._outbound.channels.close()
        _log.info("Arc Proxy has stopped")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            self.look()

    def look(self) -> None:
        """Look at the files once, and follow what they say."""
        try:
            if not self._watch.refresh():
                return
        except Exception:
            # One bad look must not end all looking.
            _log.exception("the agent's files could not be read")
            return
        self._follow_callers()
        self._publish()
        self.proxy.cut_refused()
        self.incoming.look()

    def _follow_callers(self) -> None:
        before, self._callers = self._callers, Callers.of(self._watch.settings.value.values)
        if before is not None:
            before.close()

    def _publish(self) -> None:
        now = self._watch.current
        connection_type = now.routing.connection_type
        state = ArcProxyState(
            os.getpid(),
            now.routing.goal.revision,
            tuple(self.listener.addresses),
            connection_type,
            {"port": self._port, "gateway": now.gateway.name if now.gateway and now.routing.uses_gateway else ""},
        )
        _log.info(
            "settings in use",
            connection_type=connection_type,
            goal_revision=now.routing.goal.revision,
            gateway=now.gateway.name if now.gateway else "",
            uses_gateway=now.routing.uses_gateway,
            enterprise_proxy=now.proxy_name,
        )
        try:
            write_arcproxy_state(self._paths, state)
        except OSError as error:
            _log.error("the state file can't be written", cause=str(error))

    def _incoming_rules(self) -> IncomingRules:
        settings = self._watch.settings.value
        return IncomingRules.of(settings.values, {self._port, settings.himds_port})

    def _limits(self) -> ProxyLimits:
        values = self._watch.settings.value.values
        if self._known_limits is None or self._known_limits[0] is not values:  # asked for several times a request
            self._known_limits = values, ProxyLimits.of(values)
        return self._known_limits[1]
