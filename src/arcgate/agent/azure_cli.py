"""Tokens of the session that somebody has in the Azure CLI of this machine (`az login`)."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcgate.agent.errors import AzcmError
from arcgate.core.audit import printable

PROGRAM = "az"
LIMIT = 60.0
"""Seconds that the program gets: it may have to fetch a new token itself."""
LARGEST_OUTPUT = 64 * 1024
"""Bytes of its output."""

_OTHER_WAYS = "or sign in by --use-device-code, a service principal or --access-token."


@dataclass(frozen=True, slots=True)
class AzureCli:
    """The program, and the environment that it is run with."""

    program: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def token(self, resource: str, tenant_id: str = "") -> str:
        """Return an access token for a resource; raises AzcmError 41."""
        in_tenant = ("--tenant", tenant_id) if tenant_id else ()
        output = await self._run("account", "get-access-token", "--resource", resource, *in_tenant, "--output", "json")
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(output)
            token = document.get("accessToken") if isinstance(document, dict) else None
            if isinstance(token, str) and token:
                return token
        raise _failed("its answer holds no access token")

    async def _run(self, *arguments: str) -> bytes:
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                self.program,
                *arguments,
                stdin=nothing,
                stdout=pipe,
                stderr=pipe,
                env=dict(self.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(error.strerror or "it can't be started") from None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(LIMIT):
                reads = (_read(one, process) for one in (process.stdout, process.stderr))
                output, complaint = await asyncio.gather(*reads)
                code = await process.wait()
        except TimeoutError:
            raise _failed(f"it did not answer in {LIMIT:g} s") from None
        finally:
            if process.returncode is None:
                _kill(process)
                await process.communicate()  # a wait for the end alone would not see it while output is left
        if len(output) > LARGEST_OUTPUT or len(complaint) > LARGEST_OUTPUT:
            raise _failed(f"it wrote more than {LARGEST_OUTPUT} bytes")
        if code != 0:
            lines = complaint.decode(errors="replace").strip().splitlines()
            raise _failed(printable(lines[-1]) if lines else f"it ended with code {code}")
        return output


def find_azure_cli(environment: Mapping[str, str]) -> AzureCli:
    """Return the program of the PATH; raises AzcmError 41 where there is none, or one that others could change."""
    for folder in environment.get("PATH", "").split(os.pathsep):
        found = shutil.which(PROGRAM, path=folder) if os.path.isabs(folder) else None
        if found is not None:
            program = Path(found)
            _require_own(program)
            return AzureCli(program, environment)
    raise AzcmError(
        41,
        "The Azure CLI was not found.",
        cause=f"no folder of PATH has a program {PROGRAM!r}",
        remedy=f"Install it, {_OTHER_WAYS}",
    )


def _require_own(program: Path) -> None:
    """Refuse what somebody else could have put there: it would run with our rights."""
    if sys.platform == "win32":
        return
    real = program.resolve()
    for place in (program.parent, real.parent, real):
        facts = place.stat()
        if facts.st_uid not in {0, os.geteuid()} or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise AzcmError(
                41,
                f"The Azure CLI {program} is not used.",
                cause=f"other users may change {place}",
                remedy=f"Install it so that only root may, {_OTHER_WAYS}",
            )


async def _read(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes:
    """Return what comes, one byte more than LARGEST_OUTPUT at most; then the process is ended."""
    taken = bytearray()
    while piece := await stream.read(LARGEST_OUTPUT):
        taken += piece[: LARGEST_OUTPUT + 1 - len(taken)]
        if len(taken) > LARGEST_OUTPUT:
            _kill(process)
    return bytes(taken)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the program and what it has started: as a rule it is a script around another one."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _failed(cause: str) -> AzcmError:
    return AzcmError(
        41,
        "The Azure CLI gave no token.",
        cause=cause,
        remedy=f"Run 'az login' as the user who runs this command (with sudo that is root), {_OTHER_WAYS}",
    )
