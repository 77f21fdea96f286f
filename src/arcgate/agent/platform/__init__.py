"""What differs between operating systems: folders, privileges, ownership, locks, services and facts of the machine."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
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


class Audience(StrEnum):
    """Who, beside a file's owner, may use it: each is a group of the system.

    They are two, so that a program which may have tokens can't read the machine's key.
    """

    SERVICES = "arcproxy"
    """The agent's own services: key, state and logs."""
    PROGRAMS = "himds"
    """Programs that may have tokens of the machine's identity: challenge files. The original's name for it."""


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

    def share(self, place: Path | int, mode: int, audience: Audience = Audience.SERVICES) -> None:
        """Set the mode of a file, folder or open descriptor, and its group when we may and the group exists."""
        ...

    def has_group(self, audience: Audience = Audience.SERVICES) -> bool:
        """Say whether the audience's group exists, and we may give files to it."""
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
