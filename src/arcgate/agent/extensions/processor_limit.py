"""The limit of extensions' processor time: one control group (cgroup v2) for the commands of all handlers.

systemd delegates extd's own group to it (Delegate=yes). Whatever stands against a limit is told, and nothing fails for
it: a machine without one still gets its extensions.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

PERIOD = 100_000
"""Microseconds."""
UNIT = "extd.service"
MOUNT = Path("/sys/fs/cgroup")

_OWN = re.compile(r"^0::(?P<path>/[^\n]*)$", re.MULTILINE)


class ProcessorLimit:
    """Holds handlers' commands below `percent` of all processors together; `problem` says why it can't."""

    def __init__(self, mount: Path = MOUNT, membership: Path = Path("/proc/self/cgroup")) -> None:
        """Look at the group that this process is in."""
        self._mount = mount
        self._group: Path | None = None
        self._percent = 0
        self.problem = self._prepare(membership)

    def apply(self, percent: int) -> None:
        """Set the limit; what runs already is held to it, too."""
        if self._group is None or percent == self._percent:
            return
        quota = PERIOD * (os.cpu_count() or 1) * percent // 100
        try:
            (self._group / "cpu.max").write_text(f"{max(quota, 1000)} {PERIOD}", encoding="ascii")
            self._percent, self.problem = percent, ""
        except OSError as error:
            self.problem = f"the control group takes no limit ({error.strerror})"

    def wrapped(self, words: Sequence[str]) -> list[str]:
        """Return a command that enters the group before it runs the words, so that all its children are in it."""
        if self._group is None:
            return list(words)
        return ["/bin/sh", "-c", 'echo 0 >"$0" 2>/dev/null; exec "$@"', str(self._group / "cgroup.procs"), *words]

    @property
    def warning(self) -> str:
        """The sentence for status and log while there is no limit; empty while there is."""
        return f"The limit extensions.agent.cpulimit is not in force: {self.problem}." if self.problem else ""

    def _prepare(self, membership: Path) -> str:
        try:
            if not (self._mount / "cgroup.controllers").exists():
                return "this system has no control groups of version 2"
            own = _OWN.search(membership.read_text(encoding="ascii", errors="replace"))
            if own is None or own["path"].rpartition("/")[2] != UNIT:
                return "extd was not started by systemd with a control group of its own"
            return self._make(self._mount / own["path"].lstrip("/"))
        except OSError as error:
            return f"the control group can't be changed ({error.strerror})"

    def _make(self, own: Path) -> str:
        if "cpu" not in (own / "cgroup.controllers").read_text(encoding="ascii").split():
            return "systemd did not delegate the processor controller"
        # A group with processes in it can't pass a controller on: we move one level down.
        service, group = own / "service", own / "handlers"
        service.mkdir(exist_ok=True)
        (service / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        (own / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
        group.mkdir(exist_ok=True)
        self._group = group
        return ""
