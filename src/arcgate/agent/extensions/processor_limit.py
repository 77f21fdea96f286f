"""The limit of extensions' processor time: each command of a handler runs in a control group of its own.

systemd makes it, as a scope with a quota, and it holds what the command leaves running, too. Whatever stands against a
limit is told, and nothing fails for it: a machine without one still gets its extensions.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from arcgate.agent.extensions.handler_process import run_command

MANAGER = Path("/run/systemd/system")
"""Exists exactly when systemd runs as the first process (sd_booted(3))."""
PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
PROBE_TIMEOUT = 20.0
"""Seconds that systemd gets to show that it makes such groups."""


class ProcessorLimit:
    """Holds handlers' commands below a percentage of all processors together; `problem` says why it can't."""

    def __init__(self, manager: Path = MANAGER, programs: str = PROGRAMS) -> None:
        """Look whether there is a systemd to ask."""
        program = shutil.which("systemd-run", path=programs) if manager.is_dir() else None
        self._program = program
        self._is_probed = False
        self.problem = "" if program else "systemd, which makes control groups, does not run here"

    async def prepare(self) -> None:
        """Try once whether systemd makes a group with a limit."""
        if self._is_probed or self._program is None:
            return
        self._is_probed = True
        words = self.wrapped(["/bin/true"], 100)
        end = await run_command(words, Path("/"), {"PATH": PROGRAMS}, PROBE_TIMEOUT)
        if end.failure:
            self._program, self.problem = None, f"systemd makes no group with a limit (systemd-run {end.failure})"

    def wrapped(self, words: Sequence[str], percent: int) -> list[str]:
        """Return a command that enters a group with the limit before it runs the words."""
        if self._program is None:
            return list(words)
        # For systemd 100% is one processor.
        quota = max(1, percent * (os.cpu_count() or 1))
        return [self._program, "--scope", "--quiet", "--collect", f"--property=CPUQuota={quota}%", "--", *words]

    @property
    def warning(self) -> str:
        """The sentence for status and log while there is no limit; empty while there is."""
        return f"The limit extensions.agent.cpulimit is not in force: {self.problem}." if self.problem else ""
