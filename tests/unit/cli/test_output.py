import csv
import io
import json

import pytest

from arcgate.cli.audit_commands import local_time, render_records
from arcgate.cli.output import Columns, at, render, render_csv, render_table

COLUMNS: Columns = {"NAME": at("name"), "STATE": at("properties", "state")}
ROWS = [{"name": "one", "properties": {"state": "Ready"}}, {"name": "two"}]


def test_a_table_has_aligned_columns() -> None:
    assert render(ROWS, "table", COLUMNS) == "NAME  STATE\none   Ready\ntwo"


def test_json_of_one_document_has_no_list_around_it() -> None:
    assert json.loads(render(ROWS[:1], "json", COLUMNS, single=True)) == ROWS[0]
    assert json.loads(render(ROWS, "json", COLUMNS)) == ROWS


def test_json_lines_and_tab_separated_lines_are_one_row_a_line() -> None:
    assert [json.loads(line) for line in render(ROWS, "jsonl", COLUMNS).split("\n")] == ROWS
    assert render(ROWS, "tsv", COLUMNS) == "one\tReady\ntwo\t"


def test_an_empty_list_is_empty_in_every_form() -> None:
    assert [render([], form, COLUMNS) for form in ("json", "jsonl", "tsv", "table")] == ["[]", "", "", "NAME  STATE"]


def test_a_long_value_comes_whole_where_programs_read_it() -> None:
    token = "ey" + 2000 * "x"
    assert render([{"token": token}], "tsv", {"TOKEN": at("token")}) == token
    assert token in render_csv(["TOKEN"], [[token]])


def test_nobodys_name_steers_the_terminal() -> None:
    shown = render([{"name": "a\x1b[2Jb\nc\u202ed"}], "table", COLUMNS)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown.split("\n")) == 2


def test_long_cells_are_cut_and_wide_characters_stay_aligned() -> None:
    lines = render_table(["A", "B"], [["x" * 500, "1"], ["漢字", "2"]]).split("\n")
    assert len(lines[1]) < 200
    assert lines[2].endswith("2")
    assert lines[2].index("2") == lines[1].index("1") - 2  # two characters that are two columns wide


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "=HYPERLINK(1)"])
def test_a_cell_is_never_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(render_csv(["A"], [[text]]))))
    assert rows == [["A"], ["'" + text]]


def test_numbers_stay_numbers_and_quotes_come_through() -> None:
    rows = list(csv.reader(io.StringIO(render_csv(["A", "B", "C"], [[-5, 'a"b,c', None]]))))
    assert rows[1] == ["-5", 'a"b,c', ""]


def test_a_line_break_in_a_record_is_no_new_row() -> None:
    rows = list(csv.reader(io.StringIO(render_records([{"target": "a\r\nb"}], "csv"))))
    assert rows == [["target"], ["a\\r\\nb"]]


def test_what_is_no_time_is_shown_as_it_is() -> None:
    assert local_time("yesterday") == "yesterday"
    assert local_time(None) == ""
