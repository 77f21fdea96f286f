"""Linux: systemd's units, flock, the agent's groups and the folders of the original's packages."""

import contextlib
import errno
import fcntl
import grp
import os
import platform as interpreter
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from arcgate.agent.platform import Audience, Layout, MachineFacts

SYSTEMCTL_TIMEOUT = 30
"""Seconds for one call of systemctl."""

_DMI = Path("/sys/class/dmi/id")


class LinuxPlatform:
    """See Platform."""

    services: Mapping[str, str] = MappingProxyType(
        {"himds": "himdsd", "arcproxy": "arcproxyd", "extensionservice": "extd", "gcarcservice": "gcad"}
    )

    def layout(self, environment: Mapping[str, str], home: Path | None) -> Layout:
        """See Platform."""
        root = home or Path("/var/opt/azcmagent")
        return Layout(
            home=root,
            configuration=root,
            certificates=root / "certs",
            state=root / "state",
            log=root / "log",
            tokens=root / "tokens",
            clouds=Path("/etc/azcmagent/clouds.d"),
        )

    def is_privileged(self) -> bool:
        """See Platform."""
        return os.geteuid() == 0

    def has_group(self, audience: Audience = Audience.SERVICES) -> bool:
        """See Platform."""
        return _own_group(audience) is not None

    def share(self, place: Path | int, mode: int, audience: Audience = Audience.SERVICES) -> None:
        """See Platform; files that others own already stay as they are, and what a link leads to does too."""
        if isinstance(place, int):
            _share(place, mode, audience)
            return
        try:
            # By descriptor: in a folder that the services may write, a path could lead root elsewhere by now.
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EACCES, errno.EPERM}:
                return
            raise
        try:
            _share(descriptor, mode, audience)
        finally:
            os.close(descriptor)

    def try_lock(self, descriptor: int) -> bool:
        """See Platform."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_locked(self, descriptor: int) -> bool:
        """See Platform."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False

    def wait_for_lock(self, descriptor: int) -> None:
        """See Platform."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def manages_services(self) -> bool:
        """See Platform; this folder exists exactly when systemd runs as the first process (sd_booted(3))."""
        return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None

    def service_state(self, name: str) -> str:
        """See Platform."""
        if not self.manages_services():
            return "not installed"
        unit = self.services[name]
        if _systemctl("cat", unit) is None:
            return "not installed"
        return "running" if _systemctl("is-active", unit) is not None else "stopped"

    def start_service(self, name: str) -> bool:
        """See Platform."""
        return _systemctl("enable", "--now", self.services[name]) is not None

    def stop_service(self, name: str) -> bool:
        """See Platform."""
        return _systemctl("disable", "--now", self.services[name]) is not None

    def facts(self) -> MachineFacts:
        """See Platform."""
        release = _os_release()
        return MachineFacts(
            os_type="linux",
            os_name=release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
            os_version=interpreter.release(),
            fqdn=socket.gethostname(),
            vm_uuid=_dmi("product_uuid"),
            manufacturer=_dmi("sys_vendor"),
            model=_dmi("product_name"),
        )

    def log_folders(self, environment: Mapping[str, str]) -> tuple[Path, ...]:
        """See Platform."""
        return tuple(
            Path("/var/lib/GuestConfig", name)
            for name in ("arc_policy_logs", "ext_mgr_logs", "extension_logs", "gc_agent_logs")
        )


def _group_id(audience: Audience) -> int | None:
    try:
        return grp.getgrnam(audience).gr_gid
    except KeyError:
        return None


def _share(descriptor: int, mode: int, audience: Audience) -> None:
    with contextlib.suppress(PermissionError):
        group = _own_group(audience)
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)


def _own_group(audience: Audience) -> int | None:
    """Return the audience's group when we may give files to it: as root, or as one of its members."""
    group = _group_id(audience)
    may = os.geteuid() == 0 or group in {os.getegid(), *os.getgroups()}
    return group if may else None


def _systemctl(*arguments: str) -> str | None:
    """Return systemctl's output, None when it failed."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and unit names of ours
            [program, *arguments], capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _os_release() -> dict[str, str]:
    try:
        return interpreter.freedesktop_os_release()
    except OSError:
        return {}


def _dmi(name: str) -> str:
    try:
        return (_DMI / name).read_text(encoding="utf-8", errors="replace").strip()[:128]
    except OSError:
        return ""
