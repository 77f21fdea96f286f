"""The pages of docs/reference that are made from the code."""

from pathlib import Path

import pytest

from arcgate.cli.main import arcgate
from arcgate.cli.references import pages, render_settings

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", pages(arcgate))
def test_a_page_is_up_to_date(name: str) -> None:
    # After a change of a command, setting, reason or feature: make references
    assert (FOLDER / name).read_text(encoding="utf-8") == pages(arcgate)[name]


@pytest.mark.parametrize("name", pages(arcgate))
def test_a_page_names_its_reader_and_breaks_no_table(name: str) -> None:
    lines = pages(arcgate)[name].splitlines()
    assert lines[2].startswith("*For ")
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_settings_without_an_effect_say_so() -> None:
    rows = {line.split("`")[1]: line for line in render_settings().splitlines() if line.startswith("| `")}
    assert "nothing acts on it yet" in rows["guestconfiguration.enabled"]
    assert "nothing acts on it yet" not in rows["proxy.url"]
