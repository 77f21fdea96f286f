from datetime import UTC, datetime

import click
import pytest

from arcgate.cli.audit_commands import parse_moment, render_records

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", "2026-01-31T11:59:30Z"),
        ("2h", "2026-01-31T10:00:00Z"),
        ("7d", "2026-01-24T12:00:00Z"),
        ("1w", "2026-01-24T12:00:00Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
    ],
)
def test_moments_are_spans_or_iso_times(text: str, expected: str) -> None:
    assert parse_moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["yesterday", "-2h", "2y", "٢h", "1h\n", "999999w", "2026-13-01", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_moment(text, NOW)


@pytest.mark.parametrize(("told", "shown"), [({"handedOver": True}, "yes"), ({"handedOver": False}, "no"), ({}, "-")])
def test_the_table_tells_whether_a_tunnel_was_handed_over(told: dict[str, bool], shown: str) -> None:
    heading, row = render_records([{"event": "end", "correlationId": "c", **told}], "table").splitlines()
    assert row[heading.index("HANDED OVER") :].split()[0] == shown
