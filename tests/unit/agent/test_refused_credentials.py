"""What the agent's processes tell each other about refused credentials."""

import json
import stat
from pathlib import Path

import pytest

from arcgate.agent.refused_credentials import MOST_KEPT, SharedRefused, refused_entries
from arcgate.core.credential_pauses import Refusals

RIGHT, WRONG = ("http://p:3128", "CORP\\user", "hunter2right"), ("http://p:3128", "CORP\\user", "hunter2wrong")
NOW = 1_800_000_000.0


def shared(folder: Path, *, forgives: bool = False) -> SharedRefused:
    return SharedRefused(folder / "refused-credentials.json", forgives, rounds=1)


def test_processes_count_together(tmp_path: Path) -> None:
    one, other = shared(tmp_path), shared(tmp_path)
    assert other.look(WRONG) == Refusals()
    assert one.add(WRONG, NOW) == Refusals(1, NOW)
    assert other.look(WRONG) == Refusals(1, NOW)
    assert other.add(WRONG, NOW + 30) == Refusals(2, NOW + 30)
    assert one.look(WRONG) == Refusals(2, NOW + 30)


def test_other_credentials_are_not_concerned(tmp_path: Path) -> None:
    one = shared(tmp_path)
    one.add(WRONG, NOW)
    assert one.look(RIGHT) == Refusals()


def test_an_accepted_password_ends_the_pause_of_all_and_of_former_passwords(tmp_path: Path) -> None:
    one, other = shared(tmp_path), shared(tmp_path)
    one.add(WRONG, NOW)
    other.clear(RIGHT)
    assert one.look(WRONG) == Refusals()
    assert not one.file.exists()


def test_a_check_tries_once_although_there_is_a_pause_and_counts_on(tmp_path: Path) -> None:
    shared(tmp_path).add(WRONG, NOW)
    check = shared(tmp_path, forgives=True)
    assert check.look(WRONG) == Refusals()
    assert check.add(WRONG, NOW + 1) == Refusals(2, NOW + 1)
    assert check.look(WRONG) == Refusals(2, NOW + 1)


def test_the_file_holds_no_password_and_is_closed_to_others(tmp_path: Path) -> None:
    one = shared(tmp_path)
    one.add(WRONG, NOW)
    assert "hunter2" not in one.file.read_text()
    assert "hunter2" not in repr(one)
    assert not one.file.stat().st_mode & stat.S_IRWXO


def test_people_read_proxy_user_and_the_next_try(tmp_path: Path) -> None:
    one = shared(tmp_path)
    one.add(WRONG, NOW)
    (entry,) = refused_entries(one.file)
    for words in ("http://p:3128", "CORP\\user", "2027-01-15 08:00:30 UTC", "isn't locked"):
        assert words in entry.sentence()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"salt": "zz", "refused": {}}',
        '{"salt": "00", "refused": []}',
        '{"salt": "00", "refused": {"a": {"proxy": "p", "user": "u", "count": true, "at": 1}}}',
        '{"salt": "00", "refused": {"a": {"proxy": "p", "user": "u", "count": -1, "at": 1}}}',
        '{"salt": "00", "refused": {"a": null}}',
    ],
)
def test_a_damaged_file_costs_one_try_and_no_more(tmp_path: Path, content: str) -> None:
    one = shared(tmp_path)
    one.file.write_text(content)
    assert one.look(WRONG) == Refusals()
    one.add(WRONG, NOW)
    assert shared(tmp_path).look(WRONG) == Refusals(1, NOW)


def test_without_a_file_the_process_remembers_for_itself(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    one = SharedRefused(place / "refused-credentials.json", rounds=1)
    one.add(WRONG, NOW)
    assert one.look(WRONG) == Refusals(1, NOW)


def test_the_file_stays_small(tmp_path: Path) -> None:
    one = shared(tmp_path)
    for number in range(MOST_KEPT + 5):
        one.add((*WRONG, str(number)), NOW)
    assert len(json.loads(one.file.read_text())["refused"]) == MOST_KEPT
