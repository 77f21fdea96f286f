"""Reading of audit records: any document is either read or refused with a sentence, never a crash."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.audit.records import parse_time, read_record
from arcgate.core.audit import AuditRecord, Event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RECORD = AuditRecord(
    event=Event.END,
    tunnel_id="t",
    correlation_id="c",
    time="2026-11-01T12:00:00.123456+00:00",
    node="n",
    machine_id="ABC",
    machine="/Subscriptions/X",
    tenant_id="",
    subscription_id="ABC",
    gateway="",
    client_address="",
    target="a:443",
    resolved_address="",
    feature="",
    rule="",
    verdict="allowed",
    reason="completed",
    detail="",
    policy_revision=1,
    bytes_up=1,
    bytes_down=2,
    duration=0.5,
).to_json()


def test_ids_are_searched_in_lower_case_and_shown_as_written() -> None:
    columns = read_record({**RECORD, "sequence": 7, "spool": "s"})
    assert (columns["machine_id"], columns["subscription_id"], columns["machine"]) == ("abc", "abc", "/subscriptions/x")
    assert columns["body"] == RECORD
    assert columns["time"] == datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert (columns["sequence"], columns["spool"], columns["is_open"]) == (7, "s", False)


def test_a_start_is_open() -> None:
    assert read_record({**RECORD, "event": "start"})["is_open"]


@given(key=st.sampled_from(sorted(RECORD)), value=JSON)
def test_any_value_of_any_key_is_read_or_refused(key: str, value: Any) -> None:
    try:
        columns = read_record({**RECORD, key: value})
    except ValueError:
        return
    assert all(one.isprintable() for one in columns["body"].values() if isinstance(one, str))
    assert len(columns["tunnel_id"]) <= 100
    assert len(columns["machine_id"]) <= 36


@given(JSON)
def test_any_document_is_refused_or_a_record(document: Any) -> None:
    with pytest.raises(ValueError):
        read_record(document)


@pytest.mark.parametrize("text", ["2026-11-01T12:00Z", "2026-11-01 12:00:00+01:00", "2026-11-01T12:00:00.5Z"])
def test_times_with_a_zone_are_read(text: str) -> None:
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-01",
        "2026-11-01T12:00:00",
        "20261101T120000Z",
        "2026-11-01T25:00Z",
        "0001-01-01T00:00:00+23:00",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@pytest.mark.parametrize("told", [True, False, None])
def test_a_record_tells_whether_its_tunnel_was_handed_over(told: bool | None) -> None:
    assert read_record({**RECORD, "handedOver": told})["body"]["handedOver"] is told


def test_a_record_of_an_earlier_node_does_not_tell() -> None:
    earlier = {key: value for key, value in RECORD.items() if key != "handedOver"}
    assert read_record(earlier)["body"]["handedOver"] is None


@pytest.mark.parametrize("told", ["yes", 1, 0, [], {}])
def test_other_values_than_true_and_false_are_refused(told: object) -> None:
    with pytest.raises(ValueError, match="handed_over must be true, false or null"):
        read_record({**RECORD, "handedOver": told})
