"""The life of an extension: commands come in the order of the contract, and every way leads to rest."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.extension_lifecycle import (
    TRANSITIONS,
    Command,
    Record,
    Stage,
    Wish,
    after,
    begin,
    objection,
)

FIRST = Wish("Contoso", "Backup", "1.0", 5)


class Machine:
    """Runs what the record asks for against handlers whose states it keeps."""

    def __init__(self, *failing: tuple[Command, str]) -> None:
        self.failing = list(failing)
        self.record: Record | None = None
        self.commands: list[tuple[str, str]] = []
        self.installed: set[str] = set()
        self.enabled: set[str] = set()

    def settle(self, wish: Wish | None, outcomes: list[bool] | None = None) -> None:
        for _ in range(40):
            record = begin(self.record, wish)
            self.record = record if record is None or record.stage is not Stage.GONE else None
            if record is None or (record.is_resting and record.stage is not Stage.GONE):
                return
            if record.stage is not Stage.GONE:
                self.run(outcomes)
        pytest.fail(f"it comes to no rest: {self.record}")

    def run(self, outcomes: list[bool] | None) -> None:
        assert self.record is not None
        move = TRANSITIONS[self.record.stage]
        version = self.record.coming if move.is_coming else self.record.version
        self.commands.append((str(move.command), version))
        is_failing = outcomes.pop() if outcomes else (move.command, version) in self.failing
        if not is_failing:
            self.note(move.command, version)
        self.record = after(self.record, "It failed." if is_failing else "")

    def note(self, command: Command, version: str) -> None:
        if command is Command.ENABLE:
            assert version in self.installed, "only what is installed is enabled"
            self.enabled.add(version)
        elif command is Command.INSTALL:
            self.installed.add(version)
        elif command is Command.DISABLE:
            self.enabled.discard(version)
        elif command is Command.UNINSTALL:
            self.installed.discard(version)
            self.enabled.discard(version)


def settled(*wishes: Wish | None, failing: tuple[tuple[Command, str], ...] = ()) -> Machine:
    machine = Machine(*failing)
    for wish in wishes:
        machine.settle(wish)
    return machine


def test_what_is_wanted_is_installed_and_enabled_once() -> None:
    machine = settled(FIRST, FIRST)
    assert machine.commands == [("install", "1.0"), ("enable", "1.0")]
    assert machine.record is not None
    assert (machine.record.stage, machine.record.settled) == (Stage.ENABLED, 5)


def test_new_settings_enable_again() -> None:
    assert settled(FIRST, replace(FIRST, revision=6)).commands[2:] == [("enable", "1.0")]


def test_a_newer_version_takes_the_place_of_the_old_one() -> None:
    machine = settled(FIRST, replace(FIRST, version="1.1", revision=6))
    words = ["disable 1.0", "update 1.1", "uninstall 1.0", "install 1.1", "enable 1.1"]
    assert [" ".join(one) for one in machine.commands[2:]] == words
    assert machine.record is not None
    assert (machine.record.version, machine.record.coming, machine.record.failure) == ("1.1", "", "")


@pytest.mark.parametrize(
    ("failing", "way_back"),
    [
        ((Command.DISABLE, "1.0"), ["enable 1.0"]),
        ((Command.UPDATE, "1.1"), ["enable 1.0"]),
        ((Command.UNINSTALL, "1.0"), ["install 1.0", "enable 1.0"]),
        ((Command.INSTALL, "1.1"), ["uninstall 1.1", "install 1.0", "enable 1.0"]),
        ((Command.ENABLE, "1.1"), ["uninstall 1.1", "install 1.0", "enable 1.0"]),
    ],
)
def test_an_update_that_fails_leads_back_to_the_old_version(failing: tuple[Command, str], way_back: list[str]) -> None:
    wish = replace(FIRST, version="1.1", revision=6)
    machine = settled(FIRST, wish, wish, failing=(failing,))
    words = [" ".join(one) for one in machine.commands]
    assert words[words.index(f"{failing[0]} {failing[1]}") + 1 :] == way_back
    record = machine.record
    assert record is not None
    assert (record.stage, record.version, record.coming) == (Stage.ENABLED, "1.0", "")
    assert (record.failed_version, record.failure, record.settled) == ("1.1", "It failed.", 5)


def test_a_failed_update_is_tried_again_for_new_settings_only() -> None:
    machine = settled(FIRST, replace(FIRST, version="1.1", revision=6), failing=((Command.UPDATE, "1.1"),))
    machine.failing.clear()
    before = len(machine.commands)
    machine.settle(replace(FIRST, version="1.1", revision=6))
    assert len(machine.commands) == before
    machine.settle(replace(FIRST, version="1.1", revision=7))
    assert machine.record is not None
    assert (machine.record.version, machine.record.failure) == ("1.1", "")


def test_what_could_not_be_installed_is_tried_again_for_new_settings_only() -> None:
    machine = settled(FIRST, FIRST, failing=((Command.INSTALL, "1.0"),))
    assert machine.commands == [("install", "1.0")]
    machine.failing.clear()
    machine.settle(replace(FIRST, revision=6))
    assert machine.enabled == {"1.0"}


def test_what_is_not_wanted_any_more_is_disabled_and_uninstalled_even_when_that_fails() -> None:
    assert settled(FIRST, None).commands[2:] == [("disable", "1.0"), ("uninstall", "1.0")]
    machine = settled(FIRST, None, failing=((Command.DISABLE, "1.0"), (Command.UNINSTALL, "1.0")))
    assert machine.record is None


def test_another_handler_of_the_same_name_comes_after_the_first_has_gone() -> None:
    words = settled(FIRST, replace(FIRST, type="Other", revision=6)).commands
    assert words[2:] == [("disable", "1.0"), ("uninstall", "1.0"), ("install", "1.0"), ("enable", "1.0")]


def test_it_is_enabled_again_after_a_start_and_when_its_proxy_changes() -> None:
    machine = settled(FIRST)
    assert machine.record is not None
    machine.record = replace(machine.record, is_owed=True)
    machine.settle(FIRST)
    machine.settle(replace(FIRST, proxy="http://127.0.0.1:40343"))
    assert machine.commands[2:] == [("enable", "1.0")] * 2


def test_older_settings_and_older_versions_are_refused() -> None:
    record = settled(FIRST).record
    assert objection(record, replace(FIRST, revision=4))[0] == "OlderSettings"
    assert objection(record, replace(FIRST, version="0.9", revision=6))[0] == "DowngradeRefused"
    assert objection(record, FIRST) == ("", "")
    assert objection(record, replace(FIRST, type="Other", version="0.1", revision=1)) == ("", "")
    assert objection(None, FIRST) == ("", "")


def test_an_interrupted_command_is_run_again() -> None:
    record = begin(None, FIRST)
    assert begin(record, FIRST) is record


WISHES = st.lists(
    st.none() | st.tuples(st.sampled_from(["Backup", "Other"]), st.sampled_from(["1.0", "1.1", "2.0"])), max_size=8
)


@given(WISHES, st.lists(st.booleans(), max_size=60))
def test_every_way_comes_to_rest_and_leaves_nothing_behind(
    wishes: list[tuple[str, str] | None], outcomes: list[bool]
) -> None:
    machine = Machine()
    for revision, one in enumerate(wishes, start=1):
        wish = None if one is None else Wish("Contoso", one[0], one[1], revision)
        if wish is None or objection(machine.record, wish) == ("", ""):
            machine.settle(wish, outcomes)
        if machine.record is not None:
            assert machine.record.coming == ""
            assert machine.record.stage in (Stage.ENABLED, Stage.UNSETTLED, Stage.BROKEN)
            is_running = machine.record.version in machine.enabled
            assert is_running or machine.record.stage is not Stage.ENABLED
    machine.settle(None, outcomes)
    assert machine.record is None


@given(WISHES)
def test_a_record_survives_being_stored(wishes: list[tuple[str, str] | None]) -> None:
    machine = Machine()
    for revision, one in enumerate(wishes, start=1):
        machine.settle(None if one is None else Wish("Contoso", one[0], one[1], revision))
    if machine.record is not None:
        assert Record.from_json(machine.record.to_json()) == machine.record
