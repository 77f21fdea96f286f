"""How the running agent was installed: by the system's package manager, from an archive, or for the system's Python."""

import platform as interpreter
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import arcgate
from arcgate.agent.errors import AzcmError

QUERY_TIMEOUT = 30
"""Seconds that a package manager gets to say what it has installed."""

_QUERIES = {
    "deb": ("dpkg-query", "--show", "azcmagent"),
    "rpm": ("rpm", "--query", "azcmagent"),
    "apk": ("apk", "info", "--installed", "azcmagent"),
}


@dataclass(frozen=True, slots=True)
class Installation:
    """What is installed; `kind` and `machine` as packages on offer say them, `home` the folder with bin and lib."""

    kind: str
    machine: str
    libc: str
    home: Path
    version: str = arcgate.__version__

    @property
    def root(self) -> Path:
        """The folder that the system's own folders are below: / but for tests."""
        return self.home.parents[1]

    @property
    def program(self) -> Path:
        """The command."""
        return self.home / "bin" / "azcmagent"


def find_installation() -> Installation:
    """Return how this agent is installed; raises AzcmError 3 when it is none that packages replace."""
    if getattr(sys, "frozen", False):
        home = Path(sys.executable).resolve().parents[1]
        libc = "musl" if any(Path("/lib").glob("ld-musl-*")) else "gnu"
        return Installation(_packaged_as() or "archive", interpreter.machine(), libc, home)
    home = Path(arcgate.__file__).resolve().parents[2]
    if home.name == "azcmagent" and (home / "bin" / "azcmagent").is_file():
        return Installation("python", str(sysconfig.get_config_var("SOABI")), "", home)
    raise AzcmError(
        3,
        "This agent was not installed from a package of the cloud.",
        cause=f"it runs from {home}",
        remedy="Upgrade it as it was installed, for example with pip; or run the cloud's installer.",
    )


def _packaged_as() -> str:
    return next((kind for kind, query in _QUERIES.items() if _succeeds(query)), "")


def _succeeds(query: tuple[str, ...]) -> bool:
    program = shutil.which(query[0])
    if program is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [program, *query[1:]], capture_output=True, timeout=QUERY_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
