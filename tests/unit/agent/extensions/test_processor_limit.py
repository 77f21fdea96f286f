"""The processor limit: systemd makes a group for each command, or the reason is told and commands run without."""

import os
from pathlib import Path

import pytest

from arcgate.agent.extensions.handler_process import run_command
from arcgate.agent.extensions.processor_limit import ProcessorLimit

pytestmark = pytest.mark.anyio


def systemd(tmp_path: Path, script: str) -> ProcessorLimit:
    manager = tmp_path / "manager"
    manager.mkdir()
    program = tmp_path / "systemd-run"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n{script}\n')
    program.chmod(0o755)
    return ProcessorLimit(manager, str(tmp_path))


async def test_a_command_enters_a_group_with_a_quota_of_all_processors(tmp_path: Path) -> None:
    limit = systemd(tmp_path, 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    await limit.prepare()
    assert limit.warning == ""
    words = limit.wrapped(["/bin/echo", "from the group"], 5)
    assert f"--property=CPUQuota={5 * (os.cpu_count() or 1)}%" in words
    end = await run_command(words, tmp_path, {"PATH": "/usr/bin:/bin"}, 30)
    assert (end.code, end.output) == (0, b"from the group\n")


async def test_a_systemd_that_refuses_is_asked_once_and_quoted(tmp_path: Path) -> None:
    limit = systemd(tmp_path, 'echo "Interactive authentication required." >&2; exit 1')
    await limit.prepare()
    await limit.prepare()
    assert "Interactive authentication required." in limit.warning
    assert limit.wrapped(["/bin/true"], 5) == ["/bin/true"]
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


async def test_without_systemd_there_is_no_limit_and_a_sentence_that_says_so(tmp_path: Path) -> None:
    limit = ProcessorLimit(tmp_path / "none")
    await limit.prepare()
    assert "systemd" in limit.warning
    assert limit.wrapped(["/bin/true"], 5) == ["/bin/true"]
