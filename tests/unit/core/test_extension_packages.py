"""Which package a goal wants, and what a publisher's description may say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.extension_goals import ExtensionGoal
from arcgate.core.extension_packages import PackageDescription, choose, is_newer, will_do

DIGEST = "0" * 64


def offer(version: str, machine: str = "any", type_: str = "Backup") -> PackageDescription:
    return PackageDescription("Contoso", type_, version, machine, 10, DIGEST)


def goal(version: str = "", *, minor: bool = True, type_: str = "Backup") -> ExtensionGoal:
    return ExtensionGoal("job", "contoso", type_, version, 1, upgrades_minor=minor)


@pytest.mark.parametrize(
    ("version", "wanted", "minor", "answer"),
    [
        ("1.2", "", True, True),
        ("1.2", "1.2", True, True),
        ("1.10", "1.2", True, True),
        ("1.1", "1.2", True, False),
        ("2.0", "1.2", True, False),
        ("1.2.7", "1.2", False, True),
        ("1.3", "1.2", False, False),
        ("1.2", "1.2.0", False, True),
        ("3.1", "3", False, True),
    ],
)
def test_a_version_will_do_as_the_goal_says(version: str, wanted: str, minor: bool, answer: bool) -> None:
    assert will_do(version, goal(wanted, minor=minor)) is answer


def test_the_newest_that_runs_here_is_chosen() -> None:
    offers = [offer("1.2"), offer("1.10"), offer("1.11", "aarch64"), offer("1.12", type_="Other")]
    assert choose(offers, goal("1.0"), "x86_64") == offers[1]
    assert choose(offers, goal("1.0"), "aarch64") == offers[2]
    assert choose(offers, goal("1.0", type_="BACKUP"), "x86_64") == offers[1]
    assert choose(offers, goal("2.0"), "x86_64") is None
    assert choose([offer("1.0"), offer("1.0", "x86_64")], goal(), "x86_64") == offer("1.0", "x86_64")


VERSIONS = st.lists(st.integers(0, 30), min_size=2, max_size=4).map(lambda parts: ".".join(map(str, parts)))


@given(VERSIONS, VERSIONS)
def test_of_two_versions_at_most_one_is_newer(one: str, other: str) -> None:
    assert not (is_newer(one, other) and is_newer(other, one))
    assert not is_newer(one, one)
    assert is_newer(one, "")


@given(VERSIONS)
def test_a_description_survives_being_written(version: str) -> None:
    assert PackageDescription.from_text(offer(version).to_text()) == offer(version)


@pytest.mark.parametrize(
    "change",
    [
        {"publisher": "../x"},
        {"type": "a/b"},
        {"version": "1"},
        {"version": "1.0\n"},
        {"version": "01.2"},
        {"machine": "X86"},
        {"sha256": "0" * 63},
        {"size": 0},
        {"size": True},
        {"size": 2**40},
        {"format": "arcgate-extension-2"},
    ],
)
def test_a_description_that_could_mean_something_else_is_refused(change: dict[str, object]) -> None:
    document = {**json.loads(offer("1.0").to_text()), **change}
    with pytest.raises(InputError) as caught:
        PackageDescription.from_text(json.dumps(document))
    assert caught.value.code == "PACKAGE_DESCRIPTION_INVALID"


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 8000, "x" * 9000])
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        PackageDescription.from_text(text)
