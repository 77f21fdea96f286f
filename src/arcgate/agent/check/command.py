"""A whole check: reads the agent's files, tries all endpoints side by side, returns the report."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime

from arcgate.agent.check.endpoints import Wishes, endpoints, gateway_in_use
from arcgate.agent.check.model import Endpoint, Report, Row
from arcgate.agent.check.probe import Probe
from arcgate.agent.cloud import load_cloud
from arcgate.agent.hops import Hops
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import is_running, read_identity
from arcgate.agent.surroundings import Surroundings
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.agent.trust import Trust
from arcgate.core.names import Target
from arcgate.net.resolver import Resolver, SystemResolver

AT_ONCE = 8
"""Endpoints that are tried side by side."""


async def run(
    paths: AgentPaths,
    environment: Mapping[str, str] | None = None,
    *,
    location: str = "",
    cloud: str = "",
    extra: tuple[Target, ...] = (),
    include_all: bool = False,
    resolver: Resolver | None = None,
) -> Report:
    """Check the network as the machine is set up, or for a cloud and location before it is connected.

    Raises AzcmError 75 without a usable cloud definition, StateError for damaged files, InputError for a location.
    """
    identity = read_identity(paths)
    definition = load_cloud(paths, cloud or (identity.cloud if identity is not None else ""))
    watch = SurroundingsWatch(paths, os.environ if environment is None else environment, cloud=definition)
    now = watch.current
    if now.problem is not None:
        raise now.problem
    settings = watch.settings.value
    his_endpoint = identity.his_endpoint if identity is not None and not location else ""
    wishes = Wishes(
        location or (identity.location if identity is not None else ""),
        his_endpoint,
        (*settings.check_endpoints, *extra),
        include_all,
    )
    probe = Probe(
        Hops(resolver or SystemResolver(), Trust()),
        now,
        lambda: datetime.now(UTC),
        settings.values["check.timeout"],
    )
    rows = await _check_all(probe, endpoints(now, definition, wishes))
    return _report(now, rows, paths)


async def _check_all(probe: Probe, wanted: tuple[Endpoint, ...]) -> tuple[Row, ...]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(endpoint: Endpoint) -> Row:
        async with free:
            return await probe.check(endpoint)

    return tuple(await asyncio.gather(*(one(endpoint) for endpoint in wanted)))


def _report(now: Surroundings, rows: tuple[Row, ...], paths: AgentPaths) -> Report:
    uses_gateway = now.routing.uses_gateway
    gateway = gateway_in_use(now)
    running = "running" if is_running(paths.arcproxyd_lock) else "not running"
    return Report(
        "gateway" if uses_gateway else now.routing.connection_type,
        now.proxy.origin if now.proxy is not None else "",
        f"https://{gateway.name}" if gateway is not None else "",
        rows,
        running if uses_gateway else "",
    )
