"""What a service tells systemd: that it is ready, that it stops, and that its event loop still turns (sd_notify(3)).

Without systemd, in a container or by hand, there is nobody to tell, and nothing happens.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, MutableMapping

from arcgate.net.tasks import cancel, spawn

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PROCESS_VARIABLE = "WATCHDOG_PID"
PINGS_A_PERIOD = 3
"""So that one late ping is not the end."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z", re.ASCII)


class ServiceNotices:
    """Sends notices to the service manager that started this process."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        # A name in the abstract namespace begins with @ in the environment, and with NUL for the kernel.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog

    @classmethod
    def take(cls, environment: MutableMapping[str, str], process: int | None = None) -> "ServiceNotices":
        """Return the notices that the environment asks for, and take them from it: they are not our children's."""
        address = environment.pop(SOCKET_VARIABLE, "")
        period = environment.pop(WATCHDOG_VARIABLE, "")
        whose = environment.pop(WATCHDOG_PROCESS_VARIABLE, "")
        is_ours = whose in ("", str(os.getpid() if process is None else process))
        seconds = int(period) / 1_000_000 if _NUMBER.match(period) and is_ours else 0.0
        return cls(address if address.startswith(("/", "@")) else "", seconds)

    def ready(self) -> None:
        """Say that the service does its work now."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    @contextlib.asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Say inside of the block that the event loop turns, as often as the manager's watchdog needs."""
        task = spawn("tell the watchdog", self._ping()) if self._watchdog and self._address else None
        try:
            yield
        finally:
            if task is not None:
                await cancel(task)

    async def _ping(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / PINGS_A_PERIOD)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A manager that is restarting, or has a full queue, must not end the service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.sendto(text.encode(), self._address)
