"""Windows: the folders, service names and privileges of the original's installer.

What needs Windows' own interfaces is reached when a method is called, so that this module can be read,
and its folders tested, anywhere.
"""

import ctypes
import platform as interpreter
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

from arcgate.agent.platform import Audience, Layout, MachineFacts

SERVICE_TIMEOUT = 30
"""Seconds for one call of sc.exe."""


class WindowsPlatform:
    """See Platform."""

    services: Mapping[str, str] = MappingProxyType(
        {
            "himds": "himds",
            "arcproxy": "arcproxy",
            "extensionservice": "ExtensionService",
            "gcarcservice": "GCArcService",
        }
    )

    def layout(self, environment: Mapping[str, str], home: Path | None) -> Layout:
        """See Platform."""
        data = environment.get("ProgramData", "C:\\ProgramData")
        root = home or Path(str(PureWindowsPath(data, "AzureConnectedMachineAgent")))
        return Layout(
            home=root,
            configuration=_below(root, "Config"),
            certificates=_below(root, "Certs"),
            state=_below(root, "State"),
            log=_below(root, "Log"),
            tokens=_below(root, "Tokens"),
            clouds=_below(root, "Config", "clouds.d"),
        )

    def is_privileged(self) -> bool:
        """See Platform."""
        libraries: Any = getattr(ctypes, "windll", None)
        return libraries is not None and bool(libraries.shell32.IsUserAnAdmin())

    def has_group(self, audience: Audience = Audience.SERVICES) -> bool:
        """See Platform; access lists of the folders, set by the installer, do this here."""
        return False

    def share(self, place: Path | int, mode: int, audience: Audience = Audience.SERVICES) -> None:
        """See Platform; files inherit the access list of their folder."""

    def try_lock(self, descriptor: int) -> bool:
        """See Platform."""
        return self._lock(descriptor, "LK_NBLCK")

    def is_locked(self, descriptor: int) -> bool:
        """See Platform."""
        if not self._lock(descriptor, "LK_NBRLCK"):
            return True
        self._lock(descriptor, "LK_UNLCK")
        return False

    def wait_for_lock(self, descriptor: int) -> None:
        """See Platform; LK_LOCK gives up after ten tries of a second."""
        while not self._lock(descriptor, "LK_LOCK"):
            pass

    @staticmethod
    def _lock(descriptor: int, how: str) -> bool:
        import importlib

        locking: Any = importlib.import_module("msvcrt")
        try:
            locking.locking(descriptor, getattr(locking, how), 1)
        except OSError:
            return False
        return True

    def manages_services(self) -> bool:
        """See Platform."""
        return shutil.which("sc.exe") is not None

    def service_state(self, name: str) -> str:
        """See Platform."""
        output = _sc("query", self.services[name])
        if output is None:
            return "not installed"
        return "running" if "RUNNING" in output else "stopped"

    def start_service(self, name: str) -> bool:
        """See Platform."""
        return _sc("start", self.services[name]) is not None

    def stop_service(self, name: str) -> bool:
        """See Platform."""
        return _sc("stop", self.services[name]) is not None

    def facts(self) -> MachineFacts:
        """See Platform."""
        return MachineFacts("windows", f"Windows {interpreter.release()}", interpreter.version(), socket.gethostname())

    def log_folders(self, environment: Mapping[str, str]) -> tuple[Path, ...]:
        """See Platform."""
        data = environment.get("ProgramData", "C:\\ProgramData")
        return (
            Path(str(PureWindowsPath(data, "Microsoft", "ArcGatewayRouter"))),
            Path(str(PureWindowsPath(data, "GuestConfig"))),
        )


def _below(root: Path, *parts: str) -> Path:
    # A Windows path on another system is one name to `Path`; joining by Windows' rules keeps it readable.
    is_windows_path = "\\" in str(root)
    return Path(str(PureWindowsPath(str(root), *parts))) if is_windows_path else root.joinpath(*parts)


def _sc(*arguments: str) -> str | None:
    program = shutil.which("sc.exe")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and service names of ours
            [program, *arguments], capture_output=True, text=True, timeout=SERVICE_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
