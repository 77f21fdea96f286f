from typing import Any

import pytest

from arcgate.cli.sandbox.demonstration import Report, Transfer, compare, rows_of
from arcgate.cli.sandbox.target import Counted


def record(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "bytesUp": 10, "bytesDown": 20, "reason": "completed", **more}


GOOD = [record("refusal", reason="x"), record("end", bytesUp=3), record("start"), record("end"), record("start")]
COUNTED = [Counted(10, 20), Counted(3, 20)]
TRANSFERS = [Transfer(200, 200, 15, 0), Transfer(200, 200, 0, 2)]


def failures(records: list[dict[str, Any]], counted: list[Counted]) -> list[str]:
    report = Report(lambda _line: None)
    compare(report, TRANSFERS, counted, records)
    return report.failures


def test_equal_bytes_and_complete_records_hold() -> None:
    assert failures(GOOD, COUNTED) == []


@pytest.mark.parametrize(
    ("records", "counted"),
    [
        ([], COUNTED),
        (GOOD, [Counted(10, 20), Counted(4, 20)]),
        (GOOD, COUNTED[:1]),
        (GOOD[1:], COUNTED),
        ([*GOOD, record("start")], COUNTED),
        ([record("refusal"), *GOOD], COUNTED),
    ],
)
def test_a_missing_or_different_record_is_a_failure(records: list[dict[str, Any]], counted: list[Counted]) -> None:
    assert failures(records, counted)


def test_each_row_puts_audit_target_and_client_beside_each_other() -> None:
    ends = [one for one in reversed(GOOD) if one["event"] == "end"]
    assert rows_of(ends, COUNTED, TRANSFERS) == [["10", "10", "0", "20", "20", "15"], ["3", "3", "2", "20", "20", "0"]]
