"""azcmagent upgrade: what it says, and the background."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.commands import cli, upgrade
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import ServiceLock
from arcgate.agent.upgrade.installation import Installation


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AZCMAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZCMAGENT_CLOUDS", str(tmp_path / "clouds"))
    program = tmp_path / "bin" / "azcmagent"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    program.chmod(0o755)
    monkeypatch.setattr(upgrade, "find_installation", lambda: Installation("deb", "x86_64", "gnu", tmp_path, "1.0.0"))
    return tmp_path


def test_without_a_cloud_it_is_azcm0075(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["upgrade"], {}) == 75
    assert "cloud definition" in capsys.readouterr().out


def test_in_the_background_the_same_upgrade_goes_on_elsewhere(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def keep(*words: Any, **more: Any) -> None:
        started.append(start(*words, **more))

    monkeypatch.setattr("arcgate.agent.commands.upgrade.subprocess.Popen", keep)
    assert cli.run(["upgrade", "--background", "--version", "1.2", "-j"], {}) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "started"
    assert started[0].wait(20) == 0
    assert (home / "called").read_text() == "upgrade --version 1.2\n"


def test_services_that_no_manager_restarts_are_named(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "_upgrade", lambda *_: "1.1.0")
    monkeypatch.setattr(type(current()), "manages_services", lambda _: False)
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(home / "home")})
    with ServiceLock(paths.arcproxyd_lock):
        assert cli.run(["upgrade"], {}) == 0
    assert "Restart what still runs the former version: arcproxyd\n" in capsys.readouterr().out
    assert cli.run(["upgrade"], {}) == 0
    assert "Restart" not in capsys.readouterr().out


def test_the_licence_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["license", "-j"], {}) == 0
    assert json.loads(capsys.readouterr().out)["license"] == "Apache-2.0"
