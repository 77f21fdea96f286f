"""What the agent's parts tell each other through files: identity, goal, state of the services, and their locks."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from arcgate.agent.paths import PUBLIC, AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.stored_document import Document, StoredDocument
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.guids import is_lower_guid
from arcgate.core.routing import Goal
from arcgate.net.files import read_json, write_json

MACHINE_NOT_FOUND = "MachineNotFound"
"""Code of the agent service's answer after the machine's resource was deleted."""
LOCK_MODE = 0o664
"""Lock files: services of different users share a group."""
LOCK_PATIENCE = 1.0
"""Seconds that a service tries for its lock: somebody's `is_running` may hold it for a moment."""


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Content of agentconfig.json: which resource this machine is."""

    subscription_id: str
    resource_group: str
    resource_name: str
    resource_id: str
    tenant_id: str
    location: str
    vm_id: str
    cloud: str
    correlation_id: str = ""
    principal_id: str = ""
    his_endpoint: str = ""
    """Regional URL of the agent service."""
    private_link_scope: str = ""
    """Resource id that was given to `connect`."""

    def to_json(self) -> Document:
        """Return the document of agentconfig.json."""
        return {_camel(one.name): getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], path: Path) -> "AgentIdentity":
        """Return the identity of a document; raises StateError (FILE_UNREADABLE)."""
        values = {one.name: document.get(_camel(one.name), "") for one in fields(cls)}
        if not all(isinstance(value, str) for value in values.values()) or not is_lower_guid(values["vm_id"]):
            raise StateError(
                "FILE_UNREADABLE",
                f"{path} does not say which machine this is.",
                remedy="Run 'azcmagent disconnect --force-local-only' and 'azcmagent connect'.",
            )
        return cls(**values)


def identity_file(paths: AgentPaths) -> StoredDocument:
    """Return agentconfig.json."""
    return StoredDocument(paths.agent_configuration, lambda _document: PUBLIC)


def read_identity(paths: AgentPaths) -> AgentIdentity | None:
    """Return the machine's identity, None when it isn't connected; raises StateError (FILE_UNREADABLE)."""
    document = identity_file(paths).read()
    return None if document is None else AgentIdentity.from_json(document, paths.agent_configuration)


def write_identity(paths: AgentPaths, identity: AgentIdentity) -> None:
    """Store the machine's identity: from now on the services work for it."""
    identity_file(paths).write(identity.to_json())


@dataclass(frozen=True, slots=True)
class HimdsState:
    """What himdsd last did (state/himds.json); times are ISO 8601 in UTC, empty when never."""

    status: str = "Disconnected"
    last_heartbeat: str = ""
    error_code: str = ""
    error_details: str = ""
    error_timestamp: str = ""
    goal_revision: int = 0
    server_time_offset: float = 0
    """Seconds that the server's clock is ahead of ours."""
    certificate_not_after: str = ""
    """For `show` of users who may not read the certificate."""
    metadata_endpoint: str = ""
    """URL at which programs of this machine get tokens; empty while himdsd could not listen there."""


@dataclass(frozen=True, slots=True)
class ArcProxyState:
    """What arcproxyd runs with (state/arcproxy.json)."""

    pid: int = 0
    goal_revision: int = 0
    listen: tuple[str, ...] = ()
    connection_type: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys, for logs and `show`."""


def read_goal(paths: AgentPaths) -> Goal | None:
    """Return the last good goal, None when there is none; raises StateError (FILE_UNREADABLE)."""
    document = read_json(paths.goal)
    if document is None:
        return None
    try:
        return Goal.from_json(document)
    except (KeyError, TypeError, ValueError, ArcgateError) as error:
        raise StateError("FILE_UNREADABLE", f"{paths.goal} can't be read.", cause=repr(error)) from None


def write_goal(paths: AgentPaths, goal: Goal) -> None:
    """Store a goal; Arc Proxy follows it within half a second."""
    _write_state(paths.goal, goal.to_json())


def read_himds_state(paths: AgentPaths) -> HimdsState:
    """Return what himdsd last did; nothing at all when that isn't known."""
    values = _read_state(paths.himds_state)
    known = {one.name: values[_camel(one.name)] for one in fields(HimdsState) if _camel(one.name) in values}
    state = HimdsState(**known)
    return (
        state if all(type(getattr(state, one.name)) in _kinds(one.default) for one in fields(state)) else HimdsState()
    )


def write_himds_state(paths: AgentPaths, state: HimdsState) -> None:
    """Store what himdsd did."""
    _write_state(paths.himds_state, {_camel(one.name): getattr(state, one.name) for one in fields(state)})


def read_arcproxy_state(paths: AgentPaths) -> ArcProxyState:
    """Return what arcproxyd runs with; nothing at all when that isn't known."""
    values = _read_state(paths.arcproxy_state)
    listen, pid, revision = values.get("listen"), values.get("pid"), values.get("goalRevision")
    if not isinstance(listen, list) or not isinstance(pid, int) or not isinstance(revision, int):
        return ArcProxyState()
    known = {"pid", "goalRevision", "listen", "connectionType"}
    return ArcProxyState(
        pid,
        revision,
        tuple(str(address) for address in listen),
        str(values.get("connectionType", "")),
        {key: value for key, value in values.items() if key not in known},
    )


def write_arcproxy_state(paths: AgentPaths, state: ArcProxyState) -> None:
    """Store what arcproxyd runs with."""
    _write_state(
        paths.arcproxy_state,
        {
            "pid": state.pid,
            "goalRevision": state.goal_revision,
            "listen": list(state.listen),
            "connectionType": state.connection_type,
            **state.extra,
        },
    )


class ServiceLock:
    """Held by a running service, so that there is one of it; the kernel lets go when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock; raises StateError (ALREADY_RUNNING)."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, LOCK_MODE)
        if not _try_for(LOCK_PATIENCE, lambda: current().try_lock(descriptor)):
            os.close(descriptor)
            raise StateError(
                "ALREADY_RUNNING",
                f"Another {self._path.stem} is running.",
                remedy=f"Stop it first; it holds {self._path}.",
            )
        with contextlib.suppress(OSError):  # another of the services' users owns the file
            os.fchmod(descriptor, LOCK_MODE)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "ServiceLock":
        if self._descriptor < 0:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_running(path: Path) -> bool:
    """Say whether a service holds the lock."""
    try:
        # Somebody with the services' rights may have put a FIFO there, which would keep root waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        return current().is_locked(descriptor)
    finally:
        os.close(descriptor)


def _try_for(seconds: float, attempt: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def _write_state(path: Path, document: Any) -> None:
    write_json(path, document, PUBLIC)


def _read_state(path: Path) -> Mapping[str, Any]:
    with contextlib.suppress(StateError):
        document = read_json(path)
        if isinstance(document, dict):
            return document
    return {}


def _kinds(default: object) -> tuple[type, ...]:
    return (int, float) if isinstance(default, int | float) else (type(default),)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
