"""A minimal system of its own below a folder, without Python and without systemd, on a host of a test network."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worlds.network import Host
from worlds.network_processes import Finished, Service

PROJECT = Path(__file__).parents[2]
# The mounts are those of the mount namespace that `ip netns exec` makes, and end with it.
ENTER = """
root=$1; shift
mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" && exec chroot "$@"
"""


def build_packages(folder: Path) -> Path:
    """Make the agent's packages as `make packages` does, into a folder."""
    run_script("build-packages", PACKAGES=str(folder))
    return folder


def run_script(name: str, **environment: str) -> str:
    """Run one of the project's scripts to its end and return what it printed; raises AssertionError with its words."""
    command = [str(PROJECT / "scripts" / name)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class BareSystem:
    """A system below `root`; its programs run in the network of `host`."""

    host: Host
    root: Path

    def run(self, *argv: str, timeout: float = 60, **environment: str) -> Finished:
        """Run a command of the system as its root, to its end."""
        return self.host.run(*self._inside("", argv), timeout=timeout, **environment)

    def start(self, name: str, user: str, *argv: str) -> Service:
        """Start a service of the system as one of its users (USER:GROUP)."""
        return self.host.start(name, *self._inside(user, argv))

    def put(self, source: Path) -> str:
        """Copy a file into the system and return its name there."""
        shutil.copyfile(source, self.root / "root" / source.name)
        return f"/root/{source.name}"

    def know(self, name: str, host: Host) -> None:
        """Write a name into the system's hosts file."""
        with (self.root / "etc/hosts").open("a") as file:
            file.write(f"{host.address} {name}\n")

    def _inside(self, user: str, argv: tuple[str, ...]) -> tuple[str, ...]:
        # chroot sets all groups that the user has only when it is given none.
        options = (f"--userspec={user}", str(self.root)) if user else (str(self.root),)
        return ("sh", "-c", ENTER, "enter", str(self.root), *options, *argv)


@contextmanager
def bare_system(host: Host) -> Iterator[BareSystem]:
    """Unpack a minimal system for a host."""
    archive = run_script("make-bare-system").strip()
    root = host.folder / "system"
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", str(root)], check=True, timeout=120)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    yield BareSystem(host, root)
