"""What differs between operating systems: folders, privileges, ownership, locks, services and facts of the machine."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Layout:
    """The agent's folders."""

    home: Path
    configuration: Path
    certificates: Path
    state: Path
    log: Path
    tokens: Path
    clouds: Path


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine says about itself; empty where it isn't known."""

    os_type: str
    """linux or windows."""
    os_name: str
    os_version: str
    fqdn: str
    vm_uuid: str = ""
    manufacturer: str = ""
    model: str = ""


class Platform(Protocol):
    """One operating system."""

    services: Mapping[str, str]
    """What the services' manager calls them: himds, arcproxy, extensionservice, gcarcservice."""

    def layout(self, environment: Mapping[str, str], home: Path | None) -> Layout:
        """Return the folders, below `home` when it is given."""
        ...

    def is_privileged(self) -> bool:
        """Say whether we run as root or administrator."""
        ...

    def share(self, place: Path | int, mode: int) -> None:
        """Set the mode of a file, folder or open descriptor, and the services' group when we may and it exists."""
        ...

    def has_services_group(self) -> bool:
        """Say whether the group that the services run in exists, and we may give files to it."""
        ...

    def try_lock(self, descriptor: int) -> bool:
        """Lock an open file for this process, or return False when another one holds the lock."""
        ...

    def is_locked(self, descriptor: int) -> bool:
        """Say whether another process has locked an open file; any number of askers don't disturb each other."""
        ...

    def wait_for_lock(self, descriptor: int) -> None:
        """Lock an open file, waiting for whoever holds it."""
        ...

    def manages_services(self) -> bool:
        """Say whether a manager of services runs here that `start_service` can talk to."""
        ...

    def service_state(self, name: str) -> str:
        """Return running, stopped or not installed, as the services' manager sees it."""
        ...

    def start_service(self, name: str) -> bool:
        """Enable and start a service; return whether it worked."""
        ...

    def stop_service(self, name: str) -> bool:
        """Disable and stop a service; return whether it worked."""
        ...

    def facts(self) -> MachineFacts:
        """Return facts of this machine."""
        ...

    def log_folders(self, environment: Mapping[str, str]) -> tuple[Path, ...]:
        """Return further folders whose logs belong into the zip of `azcmagent logs`."""
        ...


def current() -> Platform:
    """Return the operating system that we run on."""
    if sys.platform == "win32":
        from arcgate.agent.platform.windows import WindowsPlatform

        return WindowsPlatform()
    from arcgate.agent.platform.linux import LinuxPlatform

    return LinuxPlatform()
