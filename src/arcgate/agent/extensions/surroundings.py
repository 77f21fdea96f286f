"""What the keepers of all extensions share: folders, settings, the way to packages, the limit, and what they report."""

import os
import platform as interpreter
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from arcgate.agent.extension_state import WantedExtension, write_extension_statuses
from arcgate.agent.extensions.folders import ExtensionFolders
from arcgate.agent.extensions.package_source import PackageSource
from arcgate.agent.extensions.processor_limit import ProcessorLimit
from arcgate.agent.paths import AgentPaths
from arcgate.core.extension_goals import ExtensionStatus
from arcgate.core.extension_lifecycle import Record

_log = structlog.get_logger(__name__)

NO_PROXY = "localhost,127.0.0.1,::1"
METADATA = "http://localhost:{port}"


@dataclass(slots=True)
class StatusBoard:
    """Keeps state/extension-status.json; a status that says the same keeps its time.

    What can't be written is written with the next status, or at the next look: a full disk ends nobody's care.
    """

    paths: AgentPaths
    clock: Callable[[], datetime]
    _statuses: dict[str, ExtensionStatus] = field(default_factory=dict)
    _is_stored: bool = True

    def show(self, status: ExtensionStatus) -> None:
        """Report an extension."""
        key, before = status.name.lower(), self._statuses.get(status.name.lower())
        if before is not None and replace(before, time="") == status:
            return
        self._statuses[key] = replace(status, time=self.clock().isoformat(timespec="seconds"))
        log = _log.error if status.level == "Error" else _log.info
        log("extension", name=status.name, state=str(status.state), code=status.code, message=status.message)
        self._write()

    def drop(self, name: str) -> None:
        """Report nothing more of an extension."""
        if self._statuses.pop(name.lower(), None) is not None:
            self._write()

    def store(self) -> None:
        """Write what could not be written before."""
        if not self._is_stored:
            self._write()

    def _write(self) -> None:
        try:
            write_extension_statuses(self.paths, [self._statuses[key] for key in sorted(self._statuses)])
        except OSError as error:
            if self._is_stored:
                _log.error("the extensions' statuses can't be written", cause=str(error))
            self._is_stored = False
        else:
            self._is_stored = True


@dataclass(slots=True)
class ExtensionWorld:
    """What keepers work with; `settings` are the machine's own by name, and may change at any time."""

    folders: ExtensionFolders
    records: dict[str, Record]
    board: StatusBoard
    limit: ProcessorLimit
    settings: Callable[[], Mapping[str, Any]]
    source: Callable[[], PackageSource]
    """Raises ArcgateError while the machine isn't connected."""
    protected: Callable[[WantedExtension], dict[str, Any]]
    proxy: Callable[[], str] = lambda: ""
    """The URL of Arc Proxy on machines in gateway mode, else empty."""

    def keep(self, name: str, record: Record | None) -> None:
        """Store what is known of an extension, or that there is nothing to be known."""
        if record is None:
            self.records.pop(name, None)
        else:
            self.records[name] = record
        self.folders.write_records(self.records)


def command_environment(settings: Mapping[str, Any], proxy: str) -> dict[str, str]:
    """Return the environment of handlers' commands: little of ours, and the ways to proxy and tokens."""
    metadata = METADATA.format(port=settings.get("himds.port", 40342))
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": os.path.expanduser("~") if os.geteuid() else "/root",
        "IDENTITY_ENDPOINT": f"{metadata}/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": metadata,
        "ARC_PYTHON": _python(),
    }
    if proxy:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            environment[name] = environment[name.lower()] = proxy
        environment["NO_PROXY"] = environment["no_proxy"] = NO_PROXY
    return environment


def public_settings(settings: Mapping[str, Any], proxy: str) -> dict[str, Any]:
    """Return an extension's settings with the proxy that machines in gateway mode tell of by themselves."""
    if not proxy or "proxy" in settings:
        return dict(settings)
    return {**settings, "proxy": {"mode": "application", "address": proxy, "auth": False}}


def machine_name() -> str:
    """Return this machine's processor as packages name it."""
    return interpreter.machine().lower()


def _python() -> str:
    """Return a Python for handlers that are written in it; empty when there is none."""
    # A frozen agent's own program is no interpreter.
    if not getattr(sys, "frozen", False):
        return sys.executable
    return shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or ""
