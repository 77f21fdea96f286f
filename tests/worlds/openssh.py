"""OpenSSH's own server on a loopback port, with keys of the test, for whoever runs the test."""

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worlds.waiting import wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "/usr/sbin/sshd"


@dataclass(frozen=True)
class SshServer:
    """A running sshd. `options` make ssh use the test's files alone."""

    port: int
    folder: Path

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def options(self) -> tuple[str, ...]:
        wanted = {
            "IdentityFile": self.folder / "client",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "accept-new",
            "PasswordAuthentication": "no",
            "LogLevel": "ERROR",
        }
        return ("-F", "/dev/null", *(word for name, value in wanted.items() for word in ("-o", f"{name}={value}")))


def prepare_ssh_server(folder: Path, port: int) -> tuple[str, ...]:
    """Write keys and configuration of an sshd on loopback; return the words that run it."""
    for name in ("host", "client"):
        words = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(words, check=True, timeout=20)
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    configuration = folder / "sshd_config"
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own place, which Debian's unit makes
    return SSHD, "-D", "-E", str(folder / "sshd.log"), "-f", str(configuration)


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run sshd on this host; its sessions end with it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    words, log = prepare_ssh_server(folder, port), folder / "sshd.log"
    with subprocess.Popen(words) as process:
        try:
            wait_until(lambda: "Server listening" in log.read_text() if log.exists() else False, "sshd listens")
            yield SshServer(port, folder)
        finally:
            process.terminate()
