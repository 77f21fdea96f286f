"""Challenge files: single-use, short-lived, and readable by whom they are for."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from arcgate.agent.himds.challenges import LIFE, MOST, Challenges, challenge_header
from arcgate.agent.platform import Audience, Platform
from arcgate.core.errors import StateError


class Time:
    """Seconds that a test lets go by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _platform(shared: list[Path] | None = None) -> Platform:
    def share(place: Path | int, mode: int, audience: Audience) -> None:
        assert shared is not None
        assert audience is Audience.PROGRAMS
        path = place if isinstance(place, Path) else Path(f"/proc/self/fd/{place}").readlink()
        shared.append(path)
        path.chmod(mode)

    return cast("Platform", SimpleNamespace(has_group=lambda _audience: shared is not None, share=share))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def challenges(tmp_path: Path, time: Time) -> Challenges:
    made = Challenges(tmp_path / "tokens", time, _platform())
    made.prepare()
    return made


def _file(header: str) -> Path:
    scheme, _, path = header.partition("=")
    assert scheme == "Basic realm"
    return Path(path)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_header_names_a_file_as_clients_want_it(challenges: Challenges) -> None:
    header = challenges.issue()
    path = _file(header)
    assert header.count("=") == 1
    assert '"' not in header
    assert path.parent == challenges.folder
    assert path.suffix == ".key"
    content = path.read_bytes()
    assert 32 <= len(content) <= 4096
    assert content == content.strip()


def test_the_content_is_good_once_and_its_file_goes_with_it(challenges: Challenges) -> None:
    path = _file(challenges.issue())
    content = path.read_text()
    assert challenges.redeem(content)
    assert not path.exists()
    assert not challenges.redeem(content)


@pytest.mark.parametrize("spoil", [str.upper, lambda text: text[:-1], lambda text: text + "x", lambda _: "", str.title])
def test_other_content_opens_nothing(challenges: Challenges, spoil: Callable[[str], str]) -> None:
    path = _file(challenges.issue())
    assert not challenges.redeem(spoil(path.read_text()))
    assert path.exists()


def test_content_that_is_no_ascii_opens_nothing(challenges: Challenges) -> None:
    challenges.issue()
    assert not challenges.redeem("schlüssel")


def test_a_challenge_ends_after_its_time(challenges: Challenges, time: Time) -> None:
    path = _file(challenges.issue())
    content = path.read_text()
    time.now += LIFE - 1
    challenges.expire()
    assert path.exists()
    time.now += 1
    assert not challenges.redeem(content)
    assert not path.exists()


def test_several_clients_may_be_challenged_at_once(challenges: Challenges) -> None:
    paths = [_file(challenges.issue()) for _ in range(5)]
    assert all(challenges.redeem(path.read_text()) for path in reversed(paths))


def test_asking_for_many_challenges_keeps_no_later_one_out(challenges: Challenges) -> None:
    first = _file(challenges.issue())
    for _ in range(MOST):
        last = _file(challenges.issue())
    assert not first.exists()
    assert len(list(challenges.folder.iterdir())) == MOST
    assert challenges.redeem(last.read_text())


def test_a_file_that_somebody_removed_is_still_good_and_no_error(challenges: Challenges) -> None:
    path = _file(challenges.issue())
    content = path.read_text()
    path.unlink()
    assert challenges.redeem(content)


def test_what_somebody_writes_into_the_folder_opens_nothing(challenges: Challenges) -> None:
    (challenges.folder / "own.key").write_text("own")
    assert not challenges.redeem("own")


def test_files_are_for_the_services_group_where_there_is_one(tmp_path: Path, time: Time) -> None:
    shared: list[Path] = []
    challenges = Challenges(tmp_path / "tokens", time, _platform(shared))
    challenges.prepare()
    path = _file(challenges.issue())
    assert (_mode(path), _mode(challenges.folder)) == (0o640, 0o750)
    assert shared == [challenges.folder, path]


def test_files_are_for_the_service_alone_where_there_is_no_group(challenges: Challenges) -> None:
    before = os.umask(0)
    try:
        assert _mode(_file(challenges.issue())) == 0o600
    finally:
        os.umask(before)


def test_what_an_earlier_service_left_is_removed(tmp_path: Path, time: Time) -> None:
    left = tmp_path / "old.key"
    left.write_text("old")
    Challenges(tmp_path, time, _platform()).prepare()
    assert not left.exists()


def test_nothing_is_left_at_the_end(challenges: Challenges) -> None:
    challenges.issue()
    challenges.issue()
    challenges.close()
    assert list(challenges.folder.iterdir()) == []


@pytest.mark.parametrize("path", ["/a=b/c.key", '/a"b/c.key', "/a b/c.key", "/a\n/c.key", "/ä/c.key"])
def test_a_path_that_clients_could_not_read_is_no_challenge(path: str) -> None:
    with pytest.raises(StateError):
        challenge_header(Path(path))


@pytest.mark.parametrize(
    "path", ["/var/opt/azcmagent/tokens/1.key", r"C:\ProgramData\AzureConnectedMachineAgent\Tokens\1.key"]
)
def test_the_usual_paths_are_told(path: str) -> None:
    assert challenge_header(cast("Path", path)) == f"Basic realm={path}"
