"""Programs of the system that an upgrade runs, bounded in time, with what they said kept for the error."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from arcgate.agent.errors import AzcmError
from arcgate.core.audit import printable

PATIENCE = 600
"""Seconds for a package manager: it may wait for its lock, and restarts services."""

INSTALLERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "deb": (
        ("apt-get", "install", "--yes", "--allow-downgrades", "-o", "DPkg::Lock::Timeout=300"),
        ("dpkg", "--install"),
    ),
    "rpm": (
        ("dnf", "install", "--assumeyes", "--nogpgcheck", "--disablerepo=*"),
        ("yum", "install", "--assumeyes", "--nogpgcheck", "--disablerepo=*"),
        ("zypper", "--non-interactive", "--no-gpg-checks", "--no-refresh", "install", "--allow-unsigned-rpm"),
        ("rpm", "--upgrade", "--oldpackage"),
    ),
    "apk": (("apk", "add", "--allow-untrusted", "--no-network", "--force-overwrite"),),
}
"""Commands that install a file, the preferred first. Its digest is known by then, from the cloud itself."""


def run(words: Sequence[str | Path]) -> str:
    """Run a program and return what it printed; raises AzcmError 101."""
    name = Path(words[0]).name
    try:
        done = subprocess.run(  # noqa: S603 - words of ours and paths that we made
            [str(one) for one in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
            start_new_session=True,  # Ctrl-C at our terminal must not end a package manager half-way
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AzcmError(101, f"{name} did not run to its end.", cause=str(error)) from None
    if done.returncode != 0:
        last = printable(" ".join(done.stdout.split()[-60:]), 600)
        raise AzcmError(101, f"{name} ended with code {done.returncode}.", cause=last)
    return done.stdout
