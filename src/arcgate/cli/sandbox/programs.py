"""The agent's programs as a sandbox runs them: where they are, and how one is run to its end."""

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcgate.cli.child_process import die_with
from arcgate.core.errors import StateError

_MAINS = {
    "arcgate": "arcgate.cli.__main__",
    "azcmagent": "arcgate.agent.commands.main",
    "himdsd": "arcgate.agent.himds.service",
    "arcproxyd": "arcgate.agent.proxy.service",
}
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    code: int
    output: str
    errors: str


def program(name: str) -> tuple[str, ...]:
    """Return the command line of one of our programs: the script beside this Python, or its module."""
    script = Path(sys.executable).with_name(name)
    if script.exists():
        return (str(script),)
    return (sys.executable, "-c", f"from {_MAINS[name]} import main; main()")


def shell_command(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command with its environment, for a shell."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*settings, *(shlex.quote(one) for one in arguments)])


def without_proxies() -> dict[str, str]:
    """Return variables that keep the user's own proxy settings out of the sandbox."""
    return {name: "" for name in _PROXY_VARIABLES if name in os.environ}


async def run_program(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, *, timeout: float = 60
) -> Finished:
    """Run a program to its end; raises StateError (PROGRAM_TIMEOUT) when it takes longer than `timeout` seconds."""
    parent = os.getpid()
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: die_with(parent),
    )
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError:
        raise StateError(
            "PROGRAM_TIMEOUT", f"{Path(arguments[0]).name} has not ended in {timeout:g} s.", remedy="Try again."
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))
