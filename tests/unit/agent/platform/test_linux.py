"""systemd as the agent asks it, with a systemctl of the test's own."""

import os
from pathlib import Path

import pytest

from arcgate.agent.platform import linux as module
from arcgate.agent.platform.linux import LinuxPlatform


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that knows himdsd, and arcproxyd once its file is there; it notes what it is asked."""
    program = tmp_path / "systemctl"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$1 $2" in\n'
        '  "cat himdsd"|"cat arcproxyd"|"is-active himdsd"|"enable --now") exit 0;;\n'
        "esac\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(LinuxPlatform, "manages_services", lambda _self: True)
    return tmp_path / "calls"


@pytest.mark.usefixtures("systemctl")
@pytest.mark.parametrize(
    ("name", "state"),
    [("himds", "running"), ("arcproxy", "stopped"), ("gcarcservice", "not installed")],
)
def test_the_state_of_a_service_is_its_units(name: str, state: str) -> None:
    assert LinuxPlatform().service_state(name) == state


def test_starting_enables_the_unit(systemctl: Path) -> None:
    assert LinuxPlatform().start_service("himds")
    assert systemctl.read_text() == "enable --now himdsd\n"


@pytest.mark.usefixtures("systemctl")
def test_a_failing_systemctl_is_told_of() -> None:
    assert not LinuxPlatform().stop_service("himds")


def test_without_systemd_no_service_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinuxPlatform, "manages_services", lambda _self: False)
    assert LinuxPlatform().service_state("himds") == "not installed"


def test_facts_are_known_even_without_firmware_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_DMI", tmp_path)
    facts = LinuxPlatform().facts()
    assert facts.os_type == "linux"
    assert facts.fqdn
    assert facts.manufacturer == ""


def test_files_of_others_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    mode = path.stat().st_mode

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refuse)
    LinuxPlatform().share(path, 0o640)
    assert path.stat().st_mode == mode


def test_sharing_never_follows_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    victim.chmod(0o600)
    (tmp_path / "link").symlink_to(victim)
    LinuxPlatform().share(tmp_path / "link", 0o666)
    assert victim.stat().st_mode & 0o777 == 0o600


def test_an_open_file_is_shared_whatever_its_path_leads_to_by_now(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        path.rename(tmp_path / "moved")
        path.write_text("")
        path.chmod(0o600)
        LinuxPlatform().share(file.fileno(), 0o640)
    assert (tmp_path / "moved").stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("user", "groups", "may"),
    [(0, [0], True), (990, [990], False), (990, [990, 985], True)],
)
def test_root_and_members_give_files_to_the_services_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, groups: list[int], may: bool
) -> None:
    given: list[int] = []
    monkeypatch.setattr(module, "_group_id", lambda _audience: 985)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getegid", lambda: groups[0])
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    monkeypatch.setattr(os, "fchown", lambda _file, _user, group: given.append(group))
    file = tmp_path / "file"
    file.touch()
    LinuxPlatform().share(file, 0o640)
    assert LinuxPlatform().has_group() is may
    assert given == ([985] if may else [])
    assert file.stat().st_mode & 0o777 == 0o640
