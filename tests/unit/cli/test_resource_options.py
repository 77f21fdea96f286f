import os
from pathlib import Path

import click
import pytest

from arcgate.cli.resource_options import (
    parse_tags,
    refuse_expanded_star,
    require_name,
    resource_path,
    split_values,
    spread_values,
)
from arcgate.core.errors import InputError

SPREAD = frozenset({"--tags", "--allowed-features"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--tags", "a=1", "b=2", "-n", "x"], ["--tags", "a=1", "--tags", "b=2", "-n", "x"]),
        (["--allowed-features", "*"], ["--allowed-features", "*"]),
        (["-n", "x", "y"], ["-n", "x", "y"]),
        (["--tags=a=1", "b=2"], ["--tags=a=1", "b=2"]),
        (["--tags"], ["--tags"]),
        ([], []),
    ],
)
def test_a_flag_may_have_several_values(given: list[str], expected: list[str]) -> None:
    assert spread_values(given, SPREAD) == expected


def test_values_may_be_separated_by_commas_blanks_and_flags() -> None:
    assert split_values(["Monitor,Defender", "ArcCore  ArcData", ""]) == ["Monitor", "Defender", "ArcCore", "ArcData"]


def test_a_star_that_the_shell_has_replaced_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", ".hidden"):
        (tmp_path / name).touch()
    with pytest.raises(click.UsageError, match=r"--allowed-features '\*'"):
        refuse_expanded_star("--allowed-features", ["b", "a"])
    refuse_expanded_star("--allowed-features", ["a"])
    refuse_expanded_star("--allowed-features", ["*"])


def test_tags_are_key_and_value() -> None:
    assert parse_tags(["a=1", "b=x=y", "c"]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(click.UsageError):
        parse_tags(["=1"])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a%2fb", "ä", "x" * 261, "a\n", "a?b"])
def test_what_can_not_be_a_name_never_becomes_a_path(name: str) -> None:
    with pytest.raises(InputError):
        require_name(name, "gateway")


def test_a_path_is_built_of_checked_names() -> None:
    path = resource_path("s", "g(1)", "Microsoft.HybridCompute/gateways", "n", "gateway")
    assert path == "/subscriptions/s/resourceGroups/g(1)/providers/Microsoft.HybridCompute/gateways/n"
    assert os.sep not in require_name("a.b-c_d", "gateway")
