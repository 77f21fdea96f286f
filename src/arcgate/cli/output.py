"""What commands print: JSON, JSON lines, tab-separated lines, and tables fit for a terminal.

Text that came from peers or from the API is made printable here, so that nobody's resource name can steer the
operator's terminal.
"""

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from arcgate.core.audit import printable

Columns = Mapping[str, Callable[[Any], Any]]
"""Heading and how to get the cell's value from a row."""

FORMATS = ("table", "json", "jsonl", "tsv")
LONGEST_CELL = 120
"""Characters of a table's cell. In every other form values come whole: programs read them."""


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add -o/--output to a command."""
    return click.option(
        "-o", "--output", "form", type=click.Choice(FORMATS), help="Form of the output; lists are tables on a terminal."
    )(function)


def at(*path: str) -> Callable[[Any], Any]:
    """Return how to get a nested value, empty when any part of the path is missing."""

    def get(row: Any) -> Any:
        for part in path:
            row = row.get(part) if isinstance(row, Mapping) else None
        return "" if row is None else row

    return get


def show(document: Any, form: str | None, columns: Columns) -> None:
    """Print one resource, as JSON unless asked otherwise."""
    click.echo(render([document], form or "json", columns, single=True))


def show_list(rows: Sequence[Any], form: str | None, columns: Columns) -> None:
    """Print a list, as a table on a terminal and as JSON into a pipe unless asked otherwise."""
    chosen = form or ("table" if sys.stdout.isatty() else "json")
    if text := render(rows, chosen, columns):
        click.echo(text)


def render(rows: Sequence[Any], form: str, columns: Columns, *, single: bool = False) -> str:
    """Return rows in one of `FORMATS`; `single` leaves out JSON's list around one document."""
    if form == "json":
        return json.dumps(rows[0] if single else list(rows), indent=2)
    if form == "jsonl":
        return "\n".join(json.dumps(row) for row in rows)
    cells = [[cell_text(get(row)) for get in columns.values()] for row in rows]
    if form == "tsv":
        return "\n".join("\t".join(line) for line in cells)
    return render_table(list(columns), cells)


def cell_text(value: Any) -> str:
    """Return a value as one printable line, whole."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = " ".join(str(one) for one in value)
    return printable(str(value), sys.maxsize)


def render_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return aligned columns under their headings; long cells are cut."""
    lines = [list(headings), *([_cut(cell) for cell in line] for line in cells)]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(headings))]
    padded = [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join(padded)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _width(text: str) -> int:
    wide = sum(1 for one in text if unicodedata.east_asian_width(one) in {"W", "F"})
    return len(text) + wide - sum(1 for one in text if unicodedata.combining(one))


def render_csv(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return CSV (RFC 4180) in which no cell is a formula to a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(headings)
    for row in rows:
        writer.writerow([_without_formula(value) for value in row])
    return file.getvalue()


def _without_formula(value: Any) -> Any:
    """Spreadsheets run cells that begin with these characters; a leading apostrophe makes them text."""
    if isinstance(value, int | float):
        return value
    text = cell_text(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
