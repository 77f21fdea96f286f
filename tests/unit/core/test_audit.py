"""Audit records: one line each, whatever somebody put into a name."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arcgate.core.audit import LONGEST_TEXT, AuditRecord, Event, printable

RECORD = AuditRecord(
    event=Event.START, tunnel_id="t-1", correlation_id="c-1", time="2026-11-01T00:00:00Z", node="n", machine_id="m",
    machine="/m", tenant_id="t", subscription_id="s", gateway="/g", client_address="192.0.2.1", target="a.example:443",
    resolved_address="192.0.2.2", feature="Monitor", rule="*.example", verdict="allowed", reason="feature", detail="",
    policy_revision=7,
)  # fmt: skip


def test_a_record_has_camel_case_keys_and_keeps_unknown_counts_as_null() -> None:
    document = RECORD.to_json()
    assert document["tunnelId"] == "t-1"
    assert document["policyRevision"] == 7
    assert document["bytesUp"] is None
    assert document["event"] == "start"
    assert not any("_" in key for key in document)


def test_a_record_read_from_its_json_is_the_same() -> None:
    for record in (RECORD, replace(RECORD, event=Event.END, bytes_up=1, bytes_down=2**40, duration=0.5)):
        assert AuditRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    "change", [{"event": "other"}, {"event": None}, {"tunnelId": ...}, {"policyRevision": ...}, {"bytesUp": ...}]
)
def test_a_document_that_is_no_record_is_refused(change: dict[str, Any]) -> None:
    document = {**RECORD.to_json(), **change}
    document = {key: value for key, value in document.items() if value is not ...}
    with pytest.raises((KeyError, ValueError)):
        AuditRecord.from_json(document)


@given(st.text(max_size=400))
@example("a\r\nb\x00\x1b[2J\x85\u2028\u2029\u202e\u200b\ufeff\"'\\")
@example("\ud800")
@example("x" * 70_000)
def test_any_text_stays_on_one_bounded_line(text: str) -> None:
    document = replace(RECORD, target=text, detail=text).to_json()
    line = json.dumps(document, ensure_ascii=False)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["target"] == printable(text)
    assert len(printable(text)) <= LONGEST_TEXT
    line.encode()


@given(st.text(max_size=400))
def test_a_text_made_printable_stays_as_it_is(text: str) -> None:
    assert printable(printable(text)) == printable(text)


def test_a_text_that_was_cut_ends_in_an_ellipsis() -> None:
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"
    assert printable("abc", 2) == "a…"


def test_records_of_earlier_versions_name_no_process() -> None:
    document = {key: value for key, value in RECORD.to_json().items() if key != "process"}
    assert AuditRecord.from_json(document).process == ""
