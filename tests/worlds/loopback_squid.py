"""A real Squid on loopback, as the enterprise proxy between Arc Proxy and gateway: CONNECT to anywhere on loopback."""

import asyncio
import contextlib
import os
import shutil
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from worlds.fake_gateway import closed_port
from worlds.waiting import until


@asynccontextmanager
async def loopback_squid(folder: Path) -> AsyncIterator[int]:
    """Run Squid and give its port. It keeps no files but its configuration, so that it needs no rights."""
    port = closed_port()
    configuration = folder / "squid.conf"
    configuration.write_text(_configuration(port))
    program = shutil.which("squid", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, "scripts/install-test-packages installs Squid"
    name = uuid4().hex[:12]
    process = await asyncio.create_subprocess_exec(
        program, "-N", "-f", str(configuration), "-n", f"s{name}", stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        await until(lambda: _listens(port) or process.returncode is not None, 20, what="Squid listens")
        assert process.returncode is None, "Squid has ended"
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _configuration(port: int) -> str:
    return "\n".join(
        (
            f"http_port 127.0.0.1:{port}",
            "acl CONNECT method CONNECT",
            "http_access allow CONNECT",
            "http_access deny all",
            "access_log none",
            "cache_log /dev/null",
            "pid_filename none",
            "coredump_dir /",
            "visible_hostname squid.test",
            "netdb_filename none",
            "pinger_enable off",
            "hosts_file none",
            "cache deny all",
            "cache_mem 4 MB",
            "max_filedescriptors 4096",
            "shutdown_lifetime 1 second",
            "",
        )
    )
