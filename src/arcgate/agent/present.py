"""Reads what `azcmagent show` needs; a file that can't be read is told of, and stops nothing."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from arcgate.agent.local_settings import LocalSettings, load_settings
from arcgate.agent.machine_key import read_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import Platform
from arcgate.agent.refused_credentials import refused_entries
from arcgate.agent.show import Facts, parse_time
from arcgate.agent.state import is_running, read_arcproxy_state, read_goal, read_himds_state, read_identity
from arcgate.core.errors import ArcgateError, InputError
from arcgate.core.names import parse_target
from arcgate.core.routing import Goal

Value = TypeVar("Value")


def read_facts(paths: AgentPaths, environment: Mapping[str, str], platform: Platform, now: datetime) -> Facts:
    """Return the facts of this machine as they are now."""
    problems: list[str] = []
    himds = read_himds_state(paths)
    return Facts(
        now=now,
        machine=platform.facts(),
        settings=_or(lambda: load_settings(paths, environment), LocalSettings(), problems),
        identity=_or(lambda: read_identity(paths), None, problems),
        goal=_or(lambda: read_goal(paths) or Goal(), Goal(), problems),
        himds=himds,
        certificate_end=_certificate_end(paths) or parse_time(himds.certificate_not_after),
        services=service_states(paths, platform),
        logfile=str(paths.himds_log),
        problems=(*problems, *_refusals(paths, now)),
        arcproxy_port=_arcproxy_port(paths),
    )


def service_states(paths: AgentPaths, platform: Platform) -> dict[str, str]:
    """Return the services' states: ours by their locks, the others by the services' manager."""
    locks = {"himds": paths.himdsd_lock, "arcproxy": paths.arcproxyd_lock, "extensionservice": paths.extd_lock}
    states = {name: "running" if is_running(lock) else "stopped" for name, lock in locks.items()}
    for name in platform.services:
        if name not in states:
            states[name] = platform.service_state(name)
    return states


def _refusals(paths: AgentPaths, now: datetime) -> list[str]:
    """Return a sentence for each user that an enterprise proxy refuses, as far as this user may know."""
    known = refused_entries(paths.refused_credentials)
    return [one.sentence() for one in known if one.refusals.is_pause(now.timestamp())]


def _arcproxy_port(paths: AgentPaths) -> int:
    for address in read_arcproxy_state(paths).listen:
        with contextlib.suppress(InputError):
            return parse_target(address).port
    return 0


def _certificate_end(paths: AgentPaths) -> datetime | None:
    with contextlib.suppress(ArcgateError):
        if (facts := read_certificate(paths)) is not None:
            return facts.not_after
    return None


def _or(read: Callable[[], Value], fallback: Value, problems: list[str]) -> Value:
    try:
        return read()
    except ArcgateError as error:
        problems.append(error.one_line())
        return fallback
