import asyncio
import sys

import pytest

from arcgate.cli.sandbox.programs import program, run_program, shell_command, without_proxies
from arcgate.core.errors import StateError

pytestmark = pytest.mark.anyio


async def test_a_programs_end_is_told() -> None:
    code = "import os, sys; print(os.environ['X']); print('bad', file=sys.stderr); sys.exit(3)"
    finished = await run_program((sys.executable, "-c", code), {"X": "given"})
    assert (finished.code, finished.output, finished.errors) == (3, "given\n", "bad\n")


async def test_a_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(StateError, match="has not ended"):
        await run_program((sys.executable, "-c", "import time; time.sleep(60)"), timeout=0.2)


async def test_a_program_is_killed_with_whoever_waits_for_it() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run_program((sys.executable, "-c", "import time; time.sleep(60)"), timeout=60)


@pytest.mark.parametrize("name", ["arcgate", "azcmagent", "himdsd", "arcproxyd"])
def test_every_program_is_found_as_script_and_as_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program(name)[0].endswith(f"/{name}")
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert program(name)[:2] == ("/nowhere/python3", "-c")


def test_a_command_for_a_shell_is_quoted() -> None:
    assert shell_command(("a b", "c"), {"X": "it's"}) == """X='it'"'"'s' 'a b' c"""


def test_the_users_own_proxies_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://squid:3128")
    assert without_proxies()["HTTPS_PROXY"] == ""
