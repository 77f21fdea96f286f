"""The sandbox's machine: the real agent with its files in a folder of the sandbox's."""

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_arcproxy_state, read_goal, read_himds_state
from arcgate.cli.child_process import ChildSpec
from arcgate.cli.sandbox.plan import LOCATION, MACHINE, NAME
from arcgate.cli.sandbox.programs import Finished, program, run_program, shell_command, without_proxies
from arcgate.core.errors import ArcgateError, StateError
from arcgate.net.files import write_json

DEFAULT_PROXY_PORT = 40343
DEFAULT_METADATA_PORT = 40342
READY_TIMEOUT = 30.0
"""Seconds that the agent's services get to be at work."""
LOOK = 0.05
"""Seconds between two looks at their files."""


class SandboxMachine:
    """A machine below one folder."""

    def __init__(self, folder: Path, *, default_port: bool) -> None:
        self.environment = {
            "AZCMAGENT_HOME": str(folder / "home"),
            "AZCMAGENT_CLOUDS": str(folder / "clouds.d"),
            **without_proxies(),
        }
        self.paths = AgentPaths.from_environment(self.environment)
        self.proxy_port = DEFAULT_PROXY_PORT if default_port else free_port()
        self.metadata_port = DEFAULT_METADATA_PORT if default_port else free_port()

    @property
    def command(self) -> str:
        """`azcmagent` with its environment, for a shell."""
        return shell_command(program("azcmagent"), self.environment)

    def prepare(self, cloud: Mapping[str, str], gateway_address: str, enterprise_proxy: str) -> None:
        """Write the cloud definition and the settings."""
        self.paths.prepare()
        write_json(self.paths.clouds / "sandbox.json", dict(cloud))
        settings = SettingsFile(self.paths)
        settings.set("connection.type", "gateway")
        settings.set("arcproxy.port", str(self.proxy_port))
        settings.set("arcproxy.timeout.drain", "1")
        settings.set("himds.port", str(self.metadata_port))
        settings.set("gateway.address", gateway_address)
        if enterprise_proxy:
            settings.set("proxy.url", enterprise_proxy)

    async def connect(self, tenant: str, subscription: str, client_id: str, secret: str, gateway_id: str) -> None:
        """Run the real `azcmagent connect`; raises StateError (CONNECT_FAILED) with what it said."""
        finished = await self.run(
            "connect",
            "--resource-group",
            NAME,
            "--tenant-id",
            tenant,
            "--subscription-id",
            subscription,
            "--location",
            LOCATION,
            "--resource-name",
            MACHINE,
            "--service-principal-id",
            client_id,
            "--gateway-id",
            gateway_id,
            AZCMAGENT_SERVICE_PRINCIPAL_SECRET=secret,
        )
        if finished.code != 0:
            said = " ".join((finished.errors or finished.output).split())
            raise StateError("CONNECT_FAILED", f"azcmagent connect ended with exit code {finished.code}.", cause=said)

    async def run(self, *arguments: str, timeout: float = 120, **more: str) -> Finished:
        """Run `azcmagent` with arguments."""
        return await run_program((*program("azcmagent"), *arguments), {**self.environment, **more}, timeout=timeout)

    def services(self) -> list[ChildSpec]:
        """Return the agent's two services as children of the supervisor."""
        more = {"arcproxyd": (), "himdsd": ("--log-level", "warning")}
        return [
            ChildSpec(name, name, (*program(name), *options), environment=self.environment, reports_ready=False)
            for name, options in more.items()
        ]

    async def wait_until_at_work(self) -> None:
        """Wait until Arc Proxy uses the gateway and a heartbeat was accepted; raises StateError (AGENT_NOT_READY)."""
        await _until(self._proxy_is_ready, "Arc Proxy does not use the gateway", self.paths.arcproxy_log)
        await _until(self._is_connected, "himdsd has had no heartbeat accepted", self.paths.himds_log)

    def _proxy_is_ready(self) -> bool:
        goal, state = read_goal(self.paths), read_arcproxy_state(self.paths)
        return goal is not None and goal.has_gateway and bool(state.listen) and state.goal_revision >= goal.revision

    def _is_connected(self) -> bool:
        return read_himds_state(self.paths).status == "Connected"

    async def wait_until_allowed(self, pattern: str) -> None:
        """Wait until Arc Proxy knows that the gateway carries a pattern."""

        def knows() -> bool:
            goal = read_goal(self.paths)
            return goal is not None and any(one.text == pattern for one in goal.allowed) and self._proxy_is_ready()

        await _until(knows, f"Arc Proxy does not know {pattern}", self.paths.arcproxy_log)


async def _until(condition: Callable[[], bool], otherwise: str, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            while not _holds(condition):  # noqa: ASYNC110 - files of other processes have no event
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise StateError(
            "AGENT_NOT_READY", f"{otherwise} after {READY_TIMEOUT:g} s.", cause=_tail(log), remedy="Try again."
        ) from None


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (ArcgateError, OSError):  # a file is being replaced
        return False


def _tail(log: Path, lines: int = 5) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def free_port() -> int:
    """Return a port that is free on both loopback addresses now; somebody may still take it."""
    for _ in range(20):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as four:
            four.bind(("127.0.0.1", 0))
            port = int(four.getsockname()[1])
            if _is_free_on_ipv6(port):
                return port
    raise StateError("NO_FREE_PORT", "No port is free on both loopback addresses.", remedy="Try again.")


def _is_free_on_ipv6(port: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as six:
            six.bind(("::1", port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # without IPv6 there is nothing to be taken
    return True
