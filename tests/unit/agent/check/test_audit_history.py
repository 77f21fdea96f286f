"""What the audit tells of carried targets."""

from datetime import UTC, datetime

import pytest

from arcgate.agent.check.audit_history import carried_targets
from arcgate.core.names import parse_target


def test_each_target_has_its_last_time() -> None:
    records = [
        {"target": "a.example.com:443", "time": "2026-01-02T11:00:00Z"},
        {"target": "a.example.com:443", "time": "2026-01-02T10:00:00Z"},
        {"target": "b.example.com:80", "time": "2026-01-02T09:00:00"},
    ]
    assert carried_targets(records) == {
        parse_target("a.example.com:443"): datetime(2026, 1, 2, 11, tzinfo=UTC),
        parse_target("b.example.com:80"): datetime(2026, 1, 2, 9, tzinfo=UTC),
    }


@pytest.mark.parametrize("record", [{}, {"target": None, "time": 1}, {"target": "a b", "time": "2026-01-02T10:00:00Z"}])
def test_records_of_an_odd_form_are_left_out(record: dict[str, object]) -> None:
    assert carried_targets([record]) == {}
