"""The zip of `azcmagent logs`: what is in it, what never is, and what odd files do to it."""

import os
import zipfile
from pathlib import Path

import pytest

from arcgate.agent import log_archive as module
from arcgate.agent.errors import AzcmError
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.log_archive import NOTES, Source, sources, write_archive
from arcgate.agent.machine_key import MachineKey
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import write_goal
from arcgate.core.routing import Goal


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    found = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home")})
    found.prepare()
    found.arcproxy_log.write_text("msg=request target=example.com:443\n")
    found.himds_log.write_text("cause=http://user:hunter2@proxy:3128\n")
    return found


def _archive(paths: AgentPaths, output: Path) -> dict[str, str]:
    write_archive(output, sources(paths, current(), {}), {"show.txt": "Agent Status : Connected\n"})
    with zipfile.ZipFile(output) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_zip_has_logs_settings_goal_and_status_and_is_private(paths: AgentPaths, tmp_path: Path) -> None:
    SettingsFile(paths).set("connection.type", "gateway")
    write_goal(paths, Goal(7))
    content = _archive(paths, tmp_path / "logs.zip")
    assert content["log/arcproxy.log"] == "msg=request target=example.com:443\n"
    assert '"connection.type": "gateway"' in content["config/localconfig.json"]
    assert '"revision": 7' in content["state/goal.json"]
    assert content["show.txt"] == "Agent Status : Connected\n"
    assert (tmp_path / "logs.zip").stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_the_zip(paths: AgentPaths, tmp_path: Path) -> None:
    SettingsFile(paths).set("proxy.url", "http://user:hunter2@proxy:3128")
    MachineKey.generate().store(paths.machine_key)
    (paths.tokens / "challenge.key").write_text("hunter2")
    content = _archive(paths, tmp_path / "logs.zip")
    assert "hunter2" not in str(content)
    assert "PRIVATE KEY" not in str(content)
    assert "http://***@proxy:3128" in content["config/localconfig.json"]


def test_an_existing_file_is_never_overwritten(paths: AgentPaths, tmp_path: Path) -> None:
    output = tmp_path / "logs.zip"
    output.write_text("mine")
    with pytest.raises(AzcmError) as caught:
        write_archive(output, [], {})
    assert caught.value.number == 23
    assert output.read_text() == "mine"


def test_a_link_in_place_of_the_output_is_not_followed(paths: AgentPaths, tmp_path: Path) -> None:
    (tmp_path / "logs.zip").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AzcmError):
        write_archive(tmp_path / "logs.zip", [], {})
    assert not (tmp_path / "elsewhere").exists()


def test_links_pipes_and_folders_among_the_logs_are_left_out_with_a_note(paths: AgentPaths, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:hash")
    (paths.layout.log / "link.log").symlink_to(tmp_path / "shadow")
    os.mkfifo(paths.layout.log / "pipe.log")
    (paths.layout.log / "folder.log").mkdir()
    content = _archive(paths, tmp_path / "logs.zip")
    assert "root:hash" not in str(content)
    assert "log/link.log: left out, it is no plain file." in content[NOTES]
    assert "log/pipe.log: left out, it is no plain file." in content[NOTES]


def test_of_a_large_log_the_end_is_taken_with_a_note(
    paths: AgentPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_FILE", 100)
    paths.arcproxy_log.write_text("old " * 100 + "newest line\n")
    content = _archive(paths, tmp_path / "logs.zip")
    assert len(content["log/arcproxy.log"]) == 100
    assert content["log/arcproxy.log"].endswith("newest line\n")
    assert "log/arcproxy.log: only the last 100 of 412 bytes." in content[NOTES]


def test_all_files_together_are_bounded(paths: AgentPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ARCHIVE", 1500)
    files = []
    for number in range(3):
        file = tmp_path / f"{number}.log"
        file.write_text("x " * 500)
        files.append(Source(file, file.name))
    notes = write_archive(tmp_path / "out.zip", files, {})
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        sizes = {one.filename: one.file_size for one in archive.infolist()}
    assert (sizes["0.log"], sizes["1.log"]) == (1000, 500)
    assert "2.log" not in sizes
    assert len(notes) == 2


def test_missing_files_are_noted_and_stop_nothing(paths: AgentPaths, tmp_path: Path) -> None:
    content = _archive(paths, tmp_path / "logs.zip")
    assert "config/agentconfig.json: there is no such file." in content[NOTES]


def test_a_place_that_cannot_be_written_is_azcm0101(tmp_path: Path) -> None:
    with pytest.raises(AzcmError) as caught:
        write_archive(tmp_path / "missing" / "logs.zip", [], {})
    assert caught.value.number == 101


def test_an_archive_that_fails_half_way_is_removed(
    paths: AgentPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(AzcmError) as caught:
        write_archive(tmp_path / "logs.zip", sources(paths, current(), {}), {})
    assert "No space" in caught.value.cause
    assert not (tmp_path / "logs.zip").exists()
