"""azcmagent extension: what is wanted, what has become of it, and forgetting it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from arcgate.agent.commands import cli
from arcgate.agent.extension_state import (
    WantedExtension,
    WantedExtensions,
    read_extension_statuses,
    write_extension_statuses,
    write_wanted_extensions,
)
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.core.extension_goals import ExtensionGoal, ExtensionState, ExtensionStatus

Run = Callable[..., tuple[int, str]]

MONITOR = ExtensionGoal("Monitor", "Vendor.Monitor", "LinuxMonitor", "1.2")
FRESH = ExtensionGoal("Fresh", "Vendor.Fresh", "Fresh")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentPaths:
    monkeypatch.setenv("AZCMAGENT_HOME", str(tmp_path))
    found = AgentPaths.from_environment()
    found.prepare()
    return found


@pytest.fixture
def azcmagent(paths: AgentPaths, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        code = cli.run(["extension", *arguments], {})
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def with_extensions(paths: AgentPaths) -> None:
    wanted = (WantedExtension(MONITOR, {"key": "hunter2"}, "sealed"), WantedExtension(FRESH))
    write_wanted_extensions(paths, WantedExtensions(7, wanted))
    gone = ExtensionStatus("Old", 1, ExtensionState.DELETING, "0.9")
    write_extension_statuses(paths, [ExtensionStatus("Monitor", 1, ExtensionState.SUCCEEDED, "1.2.3"), gone])


def test_without_any_extension_that_is_what_is_said(azcmagent: Run) -> None:
    code, output = azcmagent("list")
    assert code == 0
    assert output == "There are no extensions: the cloud wants none here, and none is installed.\n"
    assert json.loads(azcmagent("list", "-j")[1]) == {"extensions": []}


@pytest.mark.usefixtures("with_extensions")
def test_wanted_and_known_extensions_are_listed_without_their_settings(azcmagent: Run) -> None:
    _, text = azcmagent("list")
    _, document = azcmagent("list", "-j")
    states = {one["name"]: (one["isWanted"], one["state"]) for one in json.loads(document)["extensions"]}
    assert states == {
        "Fresh": (True, "wanted, not dealt with yet"),
        "Monitor": (True, "Succeeded"),
        "Old": (False, "Deleting"),
    }
    assert "LinuxMonitor" in text
    assert "1.2.3" in text
    assert "hunter2" not in text + document
    assert "sealed" not in text + document


@pytest.mark.usefixtures("with_extensions")
def test_a_removed_extension_is_forgotten_and_said_to_come_back_while_it_is_wanted(
    azcmagent: Run, paths: AgentPaths
) -> None:
    code, output = azcmagent("remove", "--name", "monitor")
    assert code == 0
    assert "The cloud still wants, and will bring back: Monitor" in output
    assert [one.name for one in read_extension_statuses(paths)] == ["Old"]
    assert json.loads(azcmagent("remove", "--all", "-j")[1]) == {"removed": ["Old"], "stillWanted": []}
    assert read_extension_statuses(paths) == ()


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 16), (("--name", "X", "--all"), 27), (("--name", "Nobody"), 23), (("--all",), 0)]
)
def test_what_to_remove_is_said_once(azcmagent: Run, arguments: tuple[str, ...], code: int) -> None:
    assert azcmagent("remove", *arguments)[0] == code


def test_a_running_extension_service_is_azcm0072(azcmagent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(current()), "service_state", lambda _self, _name: "running")
    monkeypatch.delenv("AZCMAGENT_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    code, output = azcmagent("remove", "--all")
    assert code == 72, output


@pytest.mark.usefixtures("with_extensions")
def test_a_state_that_cannot_be_written_is_azcm0072(azcmagent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("arcgate.agent.commands.extension.write_extension_statuses", fail)
    assert azcmagent("remove", "--all")[0] == 72
