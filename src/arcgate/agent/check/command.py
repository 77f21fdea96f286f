"""A whole check: reads the agent's files, tries all endpoints side by side, returns the report."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from arcgate.agent.check.endpoints import Wishes, endpoints, gateway_in_use
from arcgate.agent.check.model import Endpoint, Report, Row
from arcgate.agent.check.probe import Probe
from arcgate.agent.check.request_history import read_history
from arcgate.agent.check.rules import RulesReport, advise, documented_endpoints
from arcgate.agent.cloud import load_cloud
from arcgate.agent.errors import AzcmError
from arcgate.agent.hops import Hops
from arcgate.agent.local_settings import LocalSettings
from arcgate.agent.paths import AgentPaths
from arcgate.agent.refused_credentials import SharedRefused
from arcgate.agent.state import AgentIdentity, is_running, read_himds_state, read_identity
from arcgate.agent.surroundings import Surroundings
from arcgate.agent.surroundings_watch import SurroundingsWatch
from arcgate.agent.trust import Trust
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.clock_skew import NOTICEABLE_SKEW, describe_skew
from arcgate.core.instances import CLONED
from arcgate.core.names import Target
from arcgate.net.credential_turns import CredentialTurns
from arcgate.net.enterprise_proxies import EnterpriseProxies
from arcgate.net.resolver import Resolver, SystemResolver

AT_ONCE = 8
"""Endpoints that are tried side by side."""
NO_CERTIFICATE = (
    "You may not read the machine's certificate, so the gateway was asked without it: it shows the way to the control "
    "plane only. Run it with sudo to check what is behind the gateway."
)
TELLING_LEVELS = frozenset({"debug", "info"})
"""Levels at which the log has a line for each request."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a check was asked for."""

    location: str = ""
    cloud: str = ""
    extra: tuple[Target, ...] = ()
    include_all: bool = False
    extensions: str = ""
    """all, sql, or the name of a scenario; empty: none."""
    expects_private: bool = False


async def run(
    paths: AgentPaths,
    environment: Mapping[str, str] | None = None,
    options: Options | None = None,
    progress: Callable[[int], None] = lambda _percent: None,
    *,
    resolver: Resolver | None = None,
) -> Report:
    """Check the network as the machine is set up, or for a cloud and location before it is connected.

    Raises AzcmError 75 without a usable cloud definition, StateError for damaged files, InputError for a location or
    extension.
    """
    options = options or Options()
    identity = read_identity(paths)
    definition = load_cloud(paths, options.cloud or (identity.cloud if identity is not None else ""))
    watch = SurroundingsWatch(paths, os.environ if environment is None else environment, cloud=definition)
    now = watch.current
    if now.problem is not None:
        raise now.problem
    settings = watch.settings.value
    lacks_certificate = (
        identity is not None and now.certificate is None and not os.access(paths.layout.certificates, os.X_OK)
    )
    refused = SharedRefused(paths.refused_credentials, forgives=True)
    probe = Probe(
        # Somebody looks at the answer: the credentials are tried once, whatever became of them before.
        Hops(resolver or SystemResolver(), Trust(), EnterpriseProxies(turns=CredentialTurns(refused))),
        now,
        lambda: datetime.now(UTC),
        settings.values["check.timeout"],
        lacks_certificate,
        options.expects_private,
    )
    wanted = endpoints(now, definition, _wishes(options, identity, settings))
    rows = await _check_all(probe, wanted, progress)
    return _report(now, rows, paths, _notes(paths, lacks_certificate=lacks_certificate))


def _notes(paths: AgentPaths, *, lacks_certificate: bool) -> tuple[str, ...]:
    state = read_himds_state(paths)
    notes = [NO_CERTIFICATE] if lacks_certificate else []
    if abs(state.server_time_offset) > NOTICEABLE_SKEW:
        notes.append(describe_skew(state.server_time_offset))
    if state.error_code == CLONED:
        notes.append(state.error_details)
    return tuple(notes)


def _wishes(options: Options, identity: AgentIdentity | None, settings: LocalSettings) -> Wishes:
    return Wishes(
        options.location or (identity.location if identity is not None else ""),
        identity.his_endpoint if identity is not None and not options.location else "",
        (*settings.check_endpoints, *options.extra),
        options.include_all,
        options.extensions,
    )


def advise_on_rules(
    paths: AgentPaths,
    environment: Mapping[str, str],
    now: datetime,
    hours: int,
    audit: tuple[Mapping[Target, datetime], tuple[str, ...]] = ({}, ()),
) -> RulesReport:
    """Return which firewall rules may go, as far as the log of the last hours tells; raises AzcmError 70.

    `audit` is what `audit_history` has read: targets, and notes.
    """
    watch = SurroundingsWatch(paths, environment)
    try:
        history = read_history(paths.arcproxy_log, now - timedelta(hours=hours))
    except OSError as error:
        raise AzcmError(
            70,
            f"The log {paths.arcproxy_log} can't be read.",
            cause=error.strerror or str(error),
            remedy="Run it with sudo, on a machine where Arc Proxy has run.",
        ) from None
    problems = []
    if watch.settings.value.arcproxy_log_level not in TELLING_LEVELS:
        problems.append("Arc Proxy logs failures only: 'azcmagent config set arcproxy.log.level info', and ask again.")
    if watch.current.problem is not None:
        problems.append(watch.current.problem.one_line())
    documented = documented_endpoints(shipped_catalogue())
    carried, notes = audit
    report = advise(history, documented, watch.current.routing, now, hours, problems, carried)
    return replace(report, notes=(*notes, *report.notes))


async def _check_all(probe: Probe, wanted: tuple[Endpoint, ...], progress: Callable[[int], None]) -> tuple[Row, ...]:
    free = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(endpoint: Endpoint) -> Row:
        nonlocal done
        async with free:
            row = await probe.check(endpoint)
        done += 1
        progress(100 * done // len(wanted))
        return row

    return tuple(await asyncio.gather(*(one(endpoint) for endpoint in wanted)))


def _report(now: Surroundings, rows: tuple[Row, ...], paths: AgentPaths, notes: tuple[str, ...]) -> Report:
    uses_gateway = now.routing.uses_gateway
    gateway = gateway_in_use(now)
    running = "running" if is_running(paths.arcproxyd_lock) else "not running"
    return Report(
        "gateway" if uses_gateway else now.routing.connection_type,
        now.proxy_name,
        f"https://{gateway.name}" if gateway is not None else "",
        rows,
        running if uses_gateway else "",
        notes,
    )
