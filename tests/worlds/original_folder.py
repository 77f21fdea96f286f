"""A machine with the agent's files in the folder that clients know, in a mount namespace of its own.

Clients have the folder of challenge files built in, so nothing but /var/opt/azcmagent will do. Each process
gets a namespace in which that path leads to a folder of the test's; the machine that we run on never sees it.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arcgate.agent.loopback import open_sockets
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_arcproxy_state, read_himds_state, read_identity
from worlds.sandbox_process import Ended, SandboxProcess
from worlds.waiting import wait_until

"""Seconds until a condition that should hold is taken for one that never will."""
HOME = "/var/opt/azcmagent"
GROUP_ID = 48_213
"""Of the group himds, which exists in the namespace alone."""
# The words after the script: the folder, what it leads to, the list of groups, and the command.
ENTER = (
    'mount -t tmpfs tmpfs /var/opt && mkdir "$1" && mount --bind "$2" "$1" && mount --bind "$3" /etc/group'
    ' && shift 3 && exec "$@"'
)
NOBODY = 65534


@dataclass
class OriginalMachine:
    """A machine that is connected to a sandbox's cloud, beside the sandbox's own one."""

    sandbox: SandboxProcess
    folder: Path
    metadata_port: int
    proxy_port: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def groups(self) -> Path:
        return self.folder / "group"

    @property
    def files(self) -> AgentPaths:
        """The agent's files as processes outside of the namespace see them."""
        return AgentPaths.from_environment({"AZCMAGENT_HOME": str(self.home)})

    @property
    def principal_id(self) -> str:
        identity = read_identity(self.files)
        assert identity is not None
        return identity.principal_id

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs a command in such a namespace."""
        return ["unshare", "--mount", "sh", "-c", ENTER, "sh", HOME, str(self.home), str(self.groups), *words]

    def run(self, *words: str, **environment: str) -> Ended:
        """Run a command to its end; it sees nothing of our environment but what it needs."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        done = subprocess.run(
            self.command(*words),
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def as_nobody(self, script: str) -> Ended:
        """Run a shell script as a user without any rights."""
        return self._as(script, "--clear-groups")

    def as_member(self, script: str) -> Ended:
        """Run a shell script as a user who is in the group himds, and has no other rights."""
        return self._as(script, f"--groups={GROUP_ID}")

    def _as(self, script: str, *groups: str) -> Ended:
        return self.run("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", *groups, "sh", "-c", script)

    def azcmagent(self, *words: str, **environment: str) -> Ended:
        ended = self.run(_program("azcmagent"), *words, **self.environment, **environment)
        assert ended.code == 0, ended
        return ended

    def connect(self) -> None:
        """Connect it through the sandbox's gateway."""
        ready = self.sandbox.ready
        for name, value in (
            ("connection.type", "gateway"),
            ("himds.port", str(self.metadata_port)),
            ("arcproxy.port", str(self.proxy_port)),
            ("arcproxy.timeout.drain", "0"),
            ("gateway.address", ready["gateway"]["address"]),
        ):
            self.azcmagent("config", "set", name, value)
        where = ("--subscription-id", ready["subscriptionId"], "--resource-group", ready["resourceGroup"])
        who = ("--tenant-id", ready["tenantId"], "--service-principal-id", ready["clientId"])
        what = ("--resource-name", "original", "--location", "eastus", "--gateway-id", ready["gateway"]["resourceId"])
        self.azcmagent("connect", *where, *who, *what, AZCMAGENT_SERVICE_PRINCIPAL_SECRET=ready["clientSecret"])

    @contextmanager
    def service(self, name: str) -> Iterator[None]:
        """Run a service of the agent."""
        environment = {"PATH": os.environ["PATH"], **self.environment}
        with (self.folder / f"{name}.errors").open("w") as errors:
            process = subprocess.Popen(self.command(_program(name)), env=environment, stderr=errors, stdout=errors)
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)

    def is_at_work(self) -> bool:
        """Say whether the services do what clients need."""
        state = read_himds_state(self.files)
        return (
            state.status == "Connected"
            and bool(state.metadata_endpoint)
            and bool(read_arcproxy_state(self.files).listen)
        )


@contextmanager
def original_machine(sandbox: SandboxProcess, folder: Path) -> Iterator[OriginalMachine]:
    """Connect such a machine, and run its services."""
    clouds = next(word for word in shlex.split(sandbox.ready["azcmagent"]) if word.startswith("AZCMAGENT_CLOUDS="))
    name, _, value = clouds.partition("=")
    machine = OriginalMachine(sandbox, folder, _free_port(), _free_port(), {name: value})
    machine.home.mkdir(mode=0o755)
    machine.home.chmod(0o755)
    machine.groups.write_text(f"{Path('/etc/group').read_text()}himds:x:{GROUP_ID}:\n")
    machine.groups.chmod(0o644)
    machine.connect()
    with ExitStack() as services:
        services.enter_context(machine.service("arcproxyd"))
        services.enter_context(machine.service("himdsd"))
        wait_until(machine.is_at_work, "the agent's services work")
        yield machine


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _free_port() -> int:
    sockets = open_sockets(0)
    port = int(sockets[0].getsockname()[1])
    for one in sockets:
        one.close()
    return port
